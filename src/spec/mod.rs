//! What to compute: plain data, with no knowledge of any machine.
//!
//! A spec holds the sizes and options of one operation. Its `check` says whether anyone could compute it; planning
//! checks it again, so that a spec changed by hand cannot slip through. Derived sizes (`rows`, `n_in`, `flops` …) are
//! those of a spec that passed.

mod attention;
mod butterfly;
mod scan;

pub(crate) use attention::Parts;
pub use attention::{
    Alibi, AppendSpec, AttentionSpec, BlockMask, CacheSpec, CacheView, CachedAttentionSpec, CuSeqlens,
    MergeSpec, Mods, Packed, Rotary, RotaryPairs, RotateSpec, Span, Window,
};
pub use butterfly::{
    BlockPattern, BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec, ButterflyLinearSpec, ButterflySpec,
    LinearSpec, MonarchLinearSpec, MonarchLinearWeights, MonarchSpec, PixelflyConfig, PixelflySpec,
    PixelflyWeights,
};
pub use scan::{
    AssociativeOperator, AssociativeScanSpec, Coefficients, Conv1dSpec, DeltaRuleSpec, Discretization, Gate,
    H3Spec, HyenaSpec, LinearAttentionSpec, LinearScanSpec, LongConvSpec, Mamba2Spec, MambaSpec,
    S4dParameters, S4dSpec, ScanOperator, SelectiveScanSpec, Sequences, Skip, SsdSpec,
};
pub(crate) use scan::{Complex, Decay, Recurrence, RowScan, Run};

use crate::SpecError;

/// Fails unless every size is at least 1.
fn at_least_one(sizes: &[(&'static str, usize)]) -> Result<(), SpecError> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(wrong(name, &0, "at least 1")),
        None => Ok(()),
    }
}

pub(crate) fn wrong(
    name: &'static str,
    found: &dyn std::fmt::Display,
    expected: impl Into<String>,
) -> SpecError {
    SpecError::Value { name, found: found.to_string(), expected: expected.into() }
}

/// The number of elements of a shape, at most `i32::MAX`: kernels count in u32 and look a tile past the end.
pub(crate) fn elements(tensor: &'static str, shape: &[usize]) -> Result<usize, SpecError> {
    shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
        .filter(|&count| i32::try_from(count).is_ok())
        .ok_or_else(|| SpecError::Elements { tensor, shape: shape.to_vec() })
}
