//! The long convolution.

use std::fmt;

use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// The causal convolution `y = post ∘ (v * k + D v)` of `v = pre ∘ u` with kernels up to as long as the sequences,
/// `(v * k)_t = Σ_(s ≤ t) k_(t-s) v_s`, for every batch and channel (Fu et al. 2023; Poli et al. 2023).
///
/// Tensors: `u`, the gates `pre` and `post` and `y` of shape (batch, channels, length) in `dtype`; the kernels `k` of
/// shape (channels, taps) and the skip `D` of shape (channels) in f32. A gate that is not given is 1, and `D` is 0.
///
/// The gradient of `y` leads to those of `u`, `pre` and `post` in `dtype`, and of `k` and `D` in f32, which are sums
/// over the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LongConvSpec {
    /// Storage of `u`, of the gates and of `y`.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Channels of a batch.
    pub channels: usize,
    /// Samples of a sequence.
    pub length: usize,
    /// Samples of a kernel, as many as those of a sequence or fewer.
    pub taps: usize,
    /// Whether `u` is multiplied with a gate.
    pub pre_gate: bool,
    /// Whether the result is multiplied with a gate.
    pub post_gate: bool,
    /// Whether there is a `D`.
    pub skip: bool,
}

impl LongConvSpec {
    /// A convolution with kernels as long as the sequences, and neither gates nor skip.
    pub fn new(dtype: DType, batch: usize, channels: usize, length: usize) -> Self {
        let (pre_gate, post_gate, skip) = (false, false, false);
        Self { dtype, batch, channels, length, taps: length, pre_gate, post_gate, skip }
    }

    /// Takes kernels of fewer samples.
    #[must_use]
    pub fn taps(self, taps: usize) -> Self {
        Self { taps, ..self }
    }

    /// Multiplies `u` with a gate.
    #[must_use]
    pub fn pre_gate(self) -> Self {
        Self { pre_gate: true, ..self }
    }

    /// Multiplies the result with a gate.
    #[must_use]
    pub fn post_gate(self) -> Self {
        Self { post_gate: true, ..self }
    }

    /// Adds `D v`.
    #[must_use]
    pub fn skip(self) -> Self {
        Self { skip: true, ..self }
    }

    /// Shape of `u`, of the gates and of `y`.
    pub fn shape(&self) -> [usize; 3] {
        [self.batch, self.channels, self.length]
    }

    /// Shape of `k`.
    pub fn kernel_shape(&self) -> [usize; 2] {
        [self.channels, self.taps]
    }

    /// Independent sequences.
    pub fn rows(&self) -> usize {
        self.batch * self.channels
    }

    /// Floating-point operations through real transforms of twice the length, one for each kernel and two for each
    /// sequence: `2.5 n log2 n` each, and 6 for each product of two frequencies.
    pub fn flops(&self) -> f64 {
        let samples = 2.0 * self.length as f64;
        let transforms = (self.channels + 2 * self.rows()) as f64;
        2.5 * samples * samples.log2() * transforms + 3.0 * samples * self.rows() as f64
    }

    /// Bytes that must move at least: `u`, the gates and `k` in, `y` out.
    pub fn least_bytes(&self) -> u64 {
        let tensors = 2 + usize::from(self.pre_gate) + usize::from(self.post_gate);
        let of_kernels = self.channels * self.taps * DType::F32.bytes();
        (tensors * self.rows() * self.length * self.dtype.bytes() + of_kernels) as u64
    }

    /// Fails if a size is 0, kernels are longer than sequences, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        let Self { batch, channels, length, taps, .. } = *self;
        at_least_one(&[("batch", batch), ("channels", channels), ("length", length), ("taps", taps)])?;
        if taps > length {
            return Err(wrong("taps", &taps, format!("at most the length, {length}")));
        }
        elements("u", &self.shape()).map(drop)
    }
}

impl fmt::Display for LongConvSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, channels, length, taps, pre_gate, post_gate, skip } = self;
        write!(f, "long convolution {dtype} {batch} × {channels} × {length}")?;
        if taps < length {
            write!(f, ", {taps} taps")?;
        }
        for (given, name) in [(pre_gate, "pre-gate"), (post_gate, "post-gate"), (skip, "skip")] {
            if *given {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}
