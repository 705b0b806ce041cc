//! Specs of merges.

use std::fmt;

use crate::spec::{at_least_one, elements, wrong};
use crate::{AttentionSpec, DType, SpecError};

/// Attention of the same queries to two sets of keys, put together as if it had been to both at once.
///
/// With `L` for a log-sum-exp: `L = ln(exp(L_a) + exp(L_b))` and `O = exp(L_a - L) O_a + exp(L_b - L) O_b`. It is exact, and
/// it does not matter in which order parts are merged, so a long sequence can be spread over devices or hosts, each
/// attending to its own keys (ring attention, Liu et al. 2023). A part that saw no key has `L = -inf` and its output is not
/// read; if both saw none, `O = 0` and `L = -inf`.
///
/// Tensors: `o_a`, `o_b` and `o` (batch, `q_len`, heads, `value_dim`) in `dtype`; `lse_a`, `lse_b` and `lse` (batch, heads,
/// `q_len`) in f32. Where sequences are packed there is no batch: (`q_len`, heads, `value_dim`) and (heads, `q_len`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MergeSpec {
    /// Storage of the outputs; sums are f32.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Queries of a batch.
    pub q_len: usize,
    /// Query heads.
    pub heads: usize,
    /// Width of a value, 1 to 256.
    pub value_dim: usize,
    /// Whether sequences are packed, `q_len` queries together.
    pub packed: bool,
}

impl MergeSpec {
    /// Merges outputs of that shape.
    pub fn new(dtype: DType, batch: usize, q_len: usize, heads: usize, value_dim: usize) -> Self {
        Self { dtype, batch, q_len, heads, value_dim, packed: false }
    }

    /// Merges outputs of such attention. How many keys it saw makes no difference.
    pub fn of(spec: &AttentionSpec) -> Self {
        let (batch, q_len) = spec.packed.map_or((spec.batch, spec.q_len), |packed| (1, packed.total_q));
        let packed = spec.packed.is_some();
        Self { packed, ..Self::new(spec.dtype, batch, q_len, spec.heads, spec.value_dim) }
    }

    /// Shape of each output.
    pub fn o_shape(&self) -> Vec<usize> {
        self.without_batch(&[self.batch, self.q_len, self.heads, self.value_dim])
    }

    /// Shape of each log-sum-exp.
    pub fn lse_shape(&self) -> Vec<usize> {
        self.without_batch(&[self.batch, self.heads, self.q_len])
    }

    fn without_batch(&self, shape: &[usize]) -> Vec<usize> {
        shape[usize::from(self.packed)..].to_vec()
    }

    /// Fails if a size but the queries' is 0, or one is too large.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[("batch", self.batch), ("heads", self.heads), ("value_dim", self.value_dim)])?;
        if self.packed && self.batch != 1 {
            return Err(wrong("batch", &self.batch, "1 for packed sequences, which lie one after another"));
        }
        super::check_dims(1, self.value_dim)?;
        elements("o", &self.o_shape()).map(drop)
    }
}

impl fmt::Display for MergeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, q_len, heads, value_dim, packed } = self;
        write!(f, "merge {dtype} b {batch} s {q_len} h {heads} d {value_dim}")?;
        if *packed { f.write_str(", packed") } else { Ok(()) }
    }
}
