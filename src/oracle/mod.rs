//! What the kernels must compute, written the naive way: no tiles, no chunks, no GPU.
//!
//! Every function takes a [`Precision`]. In [`Precision::Exact`] it is the reference, in f64. In a storage precision
//! it is the *plain* computation: the same mathematics done step by step in that precision, which says how much
//! error is fair. A kernel passes when its error is within twice the plain one.
//!
//! Specs must have passed their `check`, and slices have the lengths of the spec's shapes: the functions panic on
//! shorter ones.

mod attention;
mod butterfly;
mod scan;

pub use attention::{
    AttentionGiven, AttentionGradientsResult, AttentionResult, HostMods, Place, Tables, append, attention,
    attention_backward, attention_of, cached_attention, kept, merge, philox, rotate,
};
pub use butterfly::{
    ButterflyGradients, ButterflyLinearGradients, MonarchGradients, PixelflyGradients, PixelflyOperands,
    bias_gradient, block_softmax, block_softmax_backward, block_sparse, butterfly, butterfly_backward,
    butterfly_linear, butterfly_linear_backward, monarch, monarch_backward, monarch_linear, pixelfly,
    pixelfly_backward,
};
pub use scan::{
    AssociativeScanDerivatives, AssociativeScanResult, Conv1dDerivatives, Conv1dResult, Conv1dTensors,
    DeltaRuleGradient, DeltaRuleResult, DeltaRuleValues, H3Operands, H3Result, LinearAttentionGradient,
    LinearAttentionResult, LinearAttentionValues, LinearScanDerivatives, LinearScanResult, LongConv,
    LongConvGradients, LongConvOperands, SelectiveScanDerivatives, SelectiveScanResult, SelectiveScanTensors,
    SsdGradient, SsdResult, SsdValues, associative_scan, associative_scan_backward, conv1d, conv1d_backward,
    delta_rule, delta_rule_backward, h3, linear_attention, linear_attention_backward, linear_scan,
    linear_scan_backward, mamba, mamba_backward, mamba2, mamba2_backward, s4d_kernel, selective_scan,
    selective_scan_backward, ssd, ssd_backward,
};

use crate::DType;

/// The precision in which an oracle computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f64 throughout: the reference.
    Exact,
    /// Every tensor that a plain implementation would materialise is rounded to this type; sums are f32.
    Stored(DType),
}

impl Precision {
    /// A value as an accumulator holds it.
    pub fn sum(self, value: f64) -> f64 {
        match self {
            Self::Exact => value,
            Self::Stored(_) => f64::from(value as f32),
        }
    }

    /// A value as a tensor in memory holds it.
    pub fn store(self, value: f64) -> f64 {
        match self {
            Self::Exact => value,
            Self::Stored(DType::F32) => f64::from(value as f32),
            Self::Stored(DType::F16) => f64::from(half::f16::from_f64(value)),
            Self::Stored(DType::Bf16) => f64::from(half::bf16::from_f64(value)),
        }
    }

    /// `Σ a b` from left to right.
    pub fn dot(self, pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
        pairs.fold(0.0, |sum, (a, b)| self.sum(sum + self.sum(a * b)))
    }
}
