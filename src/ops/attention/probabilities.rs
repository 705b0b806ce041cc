//! The probabilities of attention.

use super::AttentionInputs;
use super::heads::{Heads, heads};
use super::link::{loads, modded_sequences, scored, tiled};
use super::mods::{ModsOp, check_mods, modded};
use super::params::{TaskParams, Works};
use crate::kernel::{Kernel, compile_array};
use crate::ops::Scratch;
use crate::plan::AttentionProbabilitiesPlan;
use crate::shader::{Shader, ShaderError};
use crate::{AttentionSpec, DType, Element, Error, Gpu, Mods, Tensor};

/// The weights with which values enter the output of [`Attention`](super::Attention), for models that read them: with
/// dropout those that are kept, times their factor, so that their products with the values are the output. Zeros where a
/// query does not see a key. Computed a tile at a time from the log-sum-exps into
/// [`AttentionSpec::probabilities_shape`].
#[derive(Clone, Debug)]
pub struct AttentionProbabilities {
    gpu: Gpu,
    spec: AttentionSpec,
    plan: AttentionProbabilitiesPlan,
    kernel: Kernel,
    mods: ModsOp,
    scratch: Scratch,
}

/// The linked shaders of a plan without mods, in the order of its footprints.
pub fn shaders(plan: &AttentionProbabilitiesPlan) -> Result<Vec<Shader>, ShaderError> {
    shaders_with_mods(plan, &Mods::default())
}

/// The linked shaders of a plan with mods, in the order of its footprints.
pub fn shaders_with_mods(plan: &AttentionProbabilitiesPlan, mods: &Mods) -> Result<Vec<Shader>, ShaderError> {
    let AttentionProbabilitiesPlan { structure, tile, storage, .. } = plan;
    let linker = modded_sequences(tiled("attention/probabilities", tile), structure);
    let linker = loads(scored(heads(linker, structure), structure, false));
    let shader = modded(linker, structure, mods, plan.tile_sizes(), false)?
        .copy("attention/dots", &[("tensor", "q"), ("other", "k"), ("WIDTH", "HEAD_DIM")])
        .set("HEAD_DIM", structure.head_dim)
        .tensor("q", structure.key_storage)
        .tensor("k", structure.key_storage)
        .tensor("p", *storage);
    Ok(vec![shader.link()?])
}

impl AttentionProbabilities {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        Self::with_mods(gpu, spec, &Mods::default())
    }

    /// The probabilities of attention with changes of scores and masks of the user's own. Fails also if a mod is wrong, as
    /// [`Attention::with_mods`](super::Attention::with_mods) does.
    pub fn with_mods(gpu: &Gpu, spec: AttentionSpec, mods: &Mods) -> Result<Self, Error> {
        let plan = AttentionProbabilitiesPlan::with_mods(&spec, mods, gpu.caps())?;
        check_mods(gpu, mods)?;
        let [kernel] = compile_array(gpu, &shaders_with_mods(&plan, mods)?)?;
        let mods = ModsOp::new(gpu, &spec, (&plan.structure, mods), None, &mut vec![])?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel, mods, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AttentionProbabilitiesPlan {
        &self.plan
    }

    /// A tensor for the probabilities. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.probabilities_shape())
    }

    /// Records the computation into an encoder of the same device, after that of the log-sum-exps.
    ///
    /// Fails like [`Attention::encode`](super::Attention::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        lse: &Tensor<f32>,
        probabilities: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel, mods, scratch } = self;
        let spans = inputs.check(gpu, spec)?;
        lse.expect(gpu, "lse", DType::F32, &spec.lse_shape())?;
        probabilities.expect(gpu, "the probabilities", spec.dtype, &spec.probabilities_shape())?;
        mods.check(gpu, inputs.tables)?;
        let works = Works::of_queries(gpu, spec, &spans, plan.tile.rows(), 1)?;
        let tiles = spec.k_len.div_ceil(plan.tile.columns() as usize) as u32;
        let params = TaskParams::new(spec, &works, (spec.heads, tiles), inputs.seed);
        let own = [inputs.q.buffer(), inputs.k.buffer(), lse.buffer(), probabilities.buffer()];
        let call = mods.encode(gpu, encoder, inputs.tables, params, &works)?;
        let structure = &plan.structure;
        let sequences = works.bound().filter(|_| !structure.sequences_among_mods());
        let heads = Heads { sinks: None, ..inputs.heads() }.bound(gpu, encoder, structure, scratch)?;
        let modded = call.bound(plan.tile_sizes())?;
        let buffers: Vec<_> = own.into_iter().chain(sequences).chain(&heads).chain(&modded).collect();
        kernel.dispatch(gpu, encoder, &params, &buffers)
    }

    /// Allocates the output, records the computation and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: AttentionInputs<'_, T>,
        lse: &Tensor<f32>,
    ) -> Result<Tensor<T>, Error> {
        let probabilities = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, lse, &probabilities)?;
        self.gpu.submit(encoder)?;
        Ok(probabilities)
    }
}
