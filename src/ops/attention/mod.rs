//! Operations of the attention family.

mod forward;
mod link;
mod mods;
mod params;

pub use forward::{Attention, shaders, shaders_with_mods};
pub use mods::Table;

use crate::tensor::expect_optional;
use crate::{Alibi, AttentionSpec, DType, Element, Error, Gpu, Tensor};

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
        Self { q, k, v, alibi: None, tables: &[] }
    }

    /// Adds ALiBi slopes.
    #[must_use]
    pub fn alibi(self, slopes: impl Into<Option<&'a Tensor<f32>>>) -> Self {
        Self { alibi: slopes.into(), ..self }
    }

    /// Adds the buffers that mods read.
    #[must_use]
    pub fn tables(self, tables: &'a [(&'a str, Table<'a>)]) -> Self {
        Self { tables, ..self }
    }

    /// Fails unless every tensor is on this GPU and as the spec has it.
    pub(crate) fn check(&self, gpu: &Gpu, spec: &AttentionSpec) -> Result<(), Error> {
        self.q.expect(gpu, "q", spec.dtype, &spec.q_shape())?;
        self.k.expect(gpu, "k", spec.dtype, &spec.k_shape())?;
        self.v.expect(gpu, "v", spec.dtype, &spec.v_shape())?;
        let slopes = spec.alibi != Alibi::None;
        expect_optional(gpu, self.alibi, "the ALiBi slopes", slopes, &spec.alibi_shape())
    }
}

impl<T: Element> AttentionOutputs<T> {
    /// Fails unless every tensor is on this GPU and as the spec has it.
    fn check(&self, gpu: &Gpu, spec: &AttentionSpec) -> Result<(), Error> {
        self.o.expect(gpu, "o", spec.dtype, &spec.o_shape())?;
        self.lse.expect(gpu, "lse", DType::F32, &spec.lse_shape())
    }
}
