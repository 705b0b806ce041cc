//! H3.

use std::fmt;

use crate::spec::S4dSpec;
use crate::{DType, LongConvSpec, SpecError};

/// H3 (Fu et al. 2023), channel by channel: a state-space model that shifts `k`, one that is diagonal, and the gates
/// between them, `out = q ∘ (S4D(s) + D s)` with `s = v ∘ (shift * k + D_k k)`.
///
/// Tensors: `q`, `k`, `v` and `out` of shape (batch, channels, length) in `dtype`; the shift's kernels (channels, shift),
/// `D_k` and `D` (channels) in f32; the parameters of the diagonal model as in [`S4dSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct H3Spec {
    /// Storage of the sequences.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Channels of a batch.
    pub channels: usize,
    /// Samples of a sequence.
    pub length: usize,
    /// States of the shift: how far its kernels reach.
    pub shift: usize,
    /// Conjugate pairs of states of the diagonal model.
    pub pairs: usize,
}

impl H3Spec {
    /// An H3 of these sequences, with so many states of the shift and pairs of states of the diagonal model.
    pub fn new(dtype: DType, [batch, channels, length]: [usize; 3], shift: usize, pairs: usize) -> Self {
        Self { dtype, batch, channels, length, shift, pairs }
    }

    /// Shape of `q`, `k`, `v` and `out`.
    pub fn shape(&self) -> [usize; 3] {
        [self.batch, self.channels, self.length]
    }

    /// The convolution of `k`, gated with `v`.
    pub fn shift_conv(&self) -> LongConvSpec {
        let Self { dtype, batch, channels, length, shift, .. } = *self;
        LongConvSpec::new(dtype, batch, channels, length).taps(shift).skip().post_gate()
    }

    /// The diagonal model, gated with `q`.
    pub fn diagonal(&self) -> S4dSpec {
        let Self { dtype, batch, channels, length, pairs, .. } = *self;
        S4dSpec::new(LongConvSpec::new(dtype, batch, channels, length).skip().post_gate(), pairs)
    }

    /// Floating-point operations of both models.
    pub fn flops(&self) -> f64 {
        self.shift_conv().flops() + self.diagonal().flops()
    }

    /// Bytes that must move at least: `q`, `k` and `v` in, `out` out.
    pub fn least_bytes(&self) -> u64 {
        (4 * self.shape().iter().product::<usize>() * self.dtype.bytes()) as u64
    }

    /// Fails if a size is 0, the shift reaches past the sequence, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        self.shift_conv().check()?;
        self.diagonal().check()
    }
}

impl fmt::Display for H3Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, channels, length, shift, pairs } = self;
        write!(f, "H3 {dtype} {batch} × {channels} × {length}, shift of {shift}, {pairs} pairs")
    }
}
