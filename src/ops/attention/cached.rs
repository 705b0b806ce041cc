//! Attention to a cache.

use super::AttentionOutputs;
use super::cache::{CacheIndex, KvCache};
use super::forward::{Forward, shaders_with_mods};
use super::heads::Heads;
use super::mods::{ModsOp, Table, check_mods};
use super::params::{TaskParams, Works};
use crate::kernel::compile;
use crate::plan::AttentionPlan;
use crate::spec::wrong;
use crate::tensor::expect_optional;
use crate::{Alibi, CachedAttentionSpec, Element, Error, Gpu, Mods, Tensor};

/// Inputs of [`CachedAttention`]; shapes as in [`CachedAttentionSpec`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CachedAttentionInputs<'a, T> {
    /// Queries.
    pub q: &'a Tensor<T>,
    /// Keys and values.
    pub cache: &'a KvCache<T>,
    /// Which of them are those of each sequence.
    pub index: &'a CacheIndex,
    /// ALiBi slopes, if the spec has them.
    pub alibi: Option<&'a Tensor<f32>>,
    /// Sinks, if the spec has them.
    pub sinks: Option<&'a Tensor<f32>>,
    /// Buffers that mods read, by name.
    pub tables: &'a [(&'a str, Table<'a>)],
}

impl<'a, T: Element> CachedAttentionInputs<'a, T> {
    /// Queries and a cache, with nothing that is optional.
    pub fn new(q: &'a Tensor<T>, cache: &'a KvCache<T>, index: &'a CacheIndex) -> Self {
        Self { q, cache, index, alibi: None, sinks: None, tables: &[] }
    }

    /// Adds ALiBi slopes.
    #[must_use]
    pub fn alibi(self, slopes: impl Into<Option<&'a Tensor<f32>>>) -> Self {
        Self { alibi: slopes.into(), ..self }
    }

    /// Adds sinks.
    #[must_use]
    pub fn sinks(self, logits: impl Into<Option<&'a Tensor<f32>>>) -> Self {
        Self { sinks: logits.into(), ..self }
    }

    /// Adds the buffers that mods read.
    #[must_use]
    pub fn tables(self, tables: &'a [(&'a str, Table<'a>)]) -> Self {
        Self { tables, ..self }
    }

    fn check(&self, gpu: &Gpu, spec: &CachedAttentionSpec) -> Result<(), Error> {
        let CachedAttentionSpec { attention, cache } = spec;
        self.q.expect(gpu, "q", attention.dtype, &attention.q_shape())?;
        self.cache.expect(gpu, cache)?;
        self.index.expect(gpu, cache, attention.batch, attention.q_len)?;
        let longest = self.index.view().longest();
        if longest > attention.k_len {
            let expected = format!("at most k_len = {}, as planned", attention.k_len);
            return Err(wrong("the longest sequence", &longest, expected).into());
        }
        let slopes = attention.alibi != Alibi::None;
        expect_optional(gpu, self.alibi, "the ALiBi slopes", slopes, &attention.alibi_shape())?;
        expect_optional(gpu, self.sinks, "the sinks", attention.sinks, &[attention.heads])
    }
}

/// Attention to the keys and values that sequences hold in a cache. The same kernels as those of
/// [`Attention`](crate::Attention), with other ways to find keys.
#[derive(Clone, Debug)]
pub struct CachedAttention {
    gpu: Gpu,
    spec: CachedAttentionSpec,
    forward: Forward,
    mods: ModsOp,
}

impl CachedAttention {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: CachedAttentionSpec) -> Result<Self, Error> {
        Self::with_mods(gpu, spec, &Mods::default())
    }

    /// Attention with changes of scores and masks of the user's own: keys are numbered behind the padding on the left, and
    /// queries from the first of the step. Fails also if a mod is wrong, as
    /// [`Attention::with_mods`](crate::Attention::with_mods) does, or if there is a mask of blocks.
    pub fn with_mods(gpu: &Gpu, spec: CachedAttentionSpec, mods: &Mods) -> Result<Self, Error> {
        let plan = AttentionPlan::cached_with_mods(&spec, mods, gpu.caps())?;
        check_mods(gpu, mods)?;
        let kernels = compile(gpu, &shaders_with_mods(&plan, mods)?)?;
        let mods = ModsOp::new(gpu, &spec.attention, (&plan.structure, mods), None, &mut vec![])?;
        Ok(Self { gpu: gpu.clone(), spec, forward: Forward::new(plan, kernels), mods })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AttentionPlan {
        &self.forward.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<AttentionOutputs<T>, Error> {
        let attention = &self.spec.attention;
        AttentionOutputs::zeros(&self.gpu, &attention.o_shape(), &attention.lse_shape())
    }

    /// Records the attention into an encoder of the same device, after the append of the same step if there is one.
    ///
    /// Fails, before anything is recorded, if a tensor, the cache or its index lives on another [`Gpu`] or is not as the
    /// spec says, if a sequence is longer than was planned for, and if scratch cannot be allocated.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: CachedAttentionInputs<'_, T>,
        outputs: &AttentionOutputs<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec: CachedAttentionSpec { attention, cache }, forward, mods } = self;
        inputs.check(gpu, &self.spec)?;
        outputs.check(gpu, attention)?;
        mods.check(gpu, inputs.tables)?;
        let (rows, heads) = forward.plan.rows(attention);
        let works = Works::even(attention.batch, rows, forward.plan.path.rows());
        let params = TaskParams {
            page: cache.block_len as u32,
            ..TaskParams::new(attention, &works, (heads, forward.plan.splits), None)
        };
        let (k, v) = inputs.cache.buffers();
        let scales = inputs.cache.scales().map(|scales| &scales.both);
        let heads = Heads { sinks: inputs.sinks, scales, slopes: inputs.alibi };
        let call = mods.encode(gpu, encoder, inputs.tables, params, &works)?;
        let options = forward.options(gpu, encoder, Some(inputs.index.buffer()), heads, &call)?;
        forward.encode(gpu, encoder, attention, params, [inputs.q.buffer(), k, v], &options, outputs)
    }

    /// Allocates the outputs, records the attention and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: CachedAttentionInputs<'_, T>,
    ) -> Result<AttentionOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}
