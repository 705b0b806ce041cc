//! Operations of the attention family.

mod append;
mod backward;
mod cache;
mod cached;
#[cfg(test)]
mod counted;
mod forward;
mod heads;
mod link;
mod merge;
mod mods;
mod params;
mod probabilities;

pub use append::{Append, AppendInputs, RotaryTables, Rotate, append_shaders, rotate_shaders};
pub use backward::{
    AttentionBackward, AttentionGradients, shaders as backward_shaders,
    shaders_with_mods as backward_shaders_with_mods,
};
pub use cache::{CacheIndex, KvCache, quantise};
pub use cached::{CachedAttention, CachedAttentionInputs};
pub use forward::{Attention, shaders, shaders_with_mods};
pub use merge::{Merge, merge_shaders};
pub use mods::Table;
pub use probabilities::{
    AttentionProbabilities, shaders as probabilities_shaders,
    shaders_with_mods as probabilities_shaders_with_mods,
};

use self::heads::Heads;
use crate::tensor::expect_optional;
use crate::{Alibi, AttentionSpec, CuSeqlens, DType, Element, Error, Gpu, Span, Tensor};

/// Inputs of [`Attention`]; shapes as in [`AttentionSpec`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AttentionInputs<'a, T> {
    /// Queries.
    pub q: &'a Tensor<T>,
    /// Keys.
    pub k: &'a Tensor<T>,
    /// Values.
    pub v: &'a Tensor<T>,
    /// ALiBi slopes, if the spec has them.
    pub alibi: Option<&'a Tensor<f32>>,
    /// Sinks, if the spec has them.
    pub sinks: Option<&'a Tensor<f32>>,
    /// Where sequences begin and end, if the spec packs them.
    pub cu_seqlens: Option<CuSeqlens<'a>>,
    /// The seed of the dropout, if the spec has it: all 64 bits count, the low half as the first word of Philox's key.
    pub seed: Option<u64>,
    /// Buffers that mods read, by name.
    pub tables: &'a [(&'a str, Table<'a>)],
}

/// Outputs of [`Attention`]; shapes as in [`AttentionSpec`].
#[derive(Clone, Debug)]
pub struct AttentionOutputs<T> {
    /// Weighted sums of the values.
    pub o: Tensor<T>,
    /// Log-sum-exp of the scores: what a backward pass, or a merge with attention to other keys, needs of them.
    pub lse: Tensor<f32>,
}

impl<'a, T: Element> AttentionInputs<'a, T> {
    /// Queries, keys and values, with nothing that is optional.
    pub fn new(q: &'a Tensor<T>, k: &'a Tensor<T>, v: &'a Tensor<T>) -> Self {
        Self { q, k, v, alibi: None, sinks: None, cu_seqlens: None, seed: None, tables: &[] }
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

    /// Says where packed sequences begin and end.
    #[must_use]
    pub fn cu_seqlens(self, sums: impl Into<Option<CuSeqlens<'a>>>) -> Self {
        Self { cu_seqlens: sums.into(), ..self }
    }

    /// Gives the dropout its seed.
    #[must_use]
    pub fn seed(self, seed: impl Into<Option<u64>>) -> Self {
        Self { seed: seed.into(), ..self }
    }

    /// Adds the buffers that mods read.
    #[must_use]
    pub fn tables(self, tables: &'a [(&'a str, Table<'a>)]) -> Self {
        Self { tables, ..self }
    }

    /// Where each sequence lies. Fails unless every tensor is on this GPU and as the spec has it.
    pub(crate) fn check(&self, gpu: &Gpu, spec: &AttentionSpec) -> Result<Vec<Span>, Error> {
        self.q.expect(gpu, "q", spec.dtype, &spec.q_shape())?;
        self.k.expect(gpu, "k", spec.dtype, &spec.k_shape())?;
        self.v.expect(gpu, "v", spec.dtype, &spec.v_shape())?;
        let slopes = spec.alibi != Alibi::None;
        expect_optional(gpu, self.alibi, "the ALiBi slopes", slopes, &spec.alibi_shape())?;
        expect_optional(gpu, self.sinks, "the sink of each head", spec.sinks, &[spec.heads])?;
        if self.seed.is_some() != spec.dropout.is_some() {
            return Err(Error::Presence { tensor: "the seed", expected: spec.dropout.is_some() });
        }
        Ok(spec.spans(self.cu_seqlens)?)
    }

    fn heads(&self) -> Heads<'a> {
        Heads { sinks: self.sinks, scales: None, slopes: self.alibi }
    }
}

impl<T: Element> AttentionOutputs<T> {
    fn zeros(gpu: &Gpu, o_shape: &[usize], lse_shape: &[usize]) -> Result<Self, Error> {
        Ok(Self { o: Tensor::zeros(gpu, o_shape)?, lse: Tensor::zeros(gpu, lse_shape)? })
    }

    /// Fails unless every tensor is on this GPU and as the spec has it.
    fn check(&self, gpu: &Gpu, spec: &AttentionSpec) -> Result<(), Error> {
        self.o.expect(gpu, "o", spec.dtype, &spec.o_shape())?;
        self.lse.expect(gpu, "lse", DType::F32, &spec.lse_shape())
    }
}
