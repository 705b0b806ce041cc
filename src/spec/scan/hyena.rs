//! Hyena's operator of order 2.

use std::fmt;

use crate::{Conv1dSpec, DType, LongConvSpec, SpecError};

/// Hyena's operator of order 2 (Poli et al. 2023): three projections of the input through short convolutions of their own,
/// `q`, `k` and `v`, and a long one between two gates, `y = q ∘ (h * (k ∘ v) + D (k ∘ v))`.
///
/// Tensors: the projections and `y` of shape (batch, channels, length) in `dtype`; for each projection taps (channels,
/// width) and a bias (channels); the filter `h` of shape (channels, taps) and `D` (channels), all in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct HyenaSpec {
    /// Storage of the sequences.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Channels of a batch.
    pub channels: usize,
    /// Samples of a sequence.
    pub length: usize,
    /// Taps of the short convolutions, 2 to 4.
    pub width: usize,
    /// Samples of the filter, as many as those of a sequence or fewer.
    pub taps: usize,
}

impl HyenaSpec {
    /// An operator of these sequences with short convolutions of three taps and a filter as long as the sequences.
    pub fn new(dtype: DType, batch: usize, channels: usize, length: usize) -> Self {
        Self { dtype, batch, channels, length, width: 3, taps: length }
    }

    /// Takes a filter of fewer samples.
    #[must_use]
    pub fn taps(self, taps: usize) -> Self {
        Self { taps, ..self }
    }

    /// Takes short convolutions of that many taps.
    #[must_use]
    pub fn width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// Shape of the projections and of `y`.
    pub fn shape(&self) -> [usize; 3] {
        [self.batch, self.channels, self.length]
    }

    /// The convolution of a projection.
    pub fn short(&self) -> Conv1dSpec {
        Conv1dSpec::new(self.dtype, self.batch, self.channels, self.length, self.width).bias()
    }

    /// The convolution between the gates.
    pub fn long(&self) -> LongConvSpec {
        let conv = LongConvSpec::new(self.dtype, self.batch, self.channels, self.length);
        conv.taps(self.taps).pre_gate().post_gate().skip()
    }

    /// Floating-point operations of all convolutions.
    pub fn flops(&self) -> f64 {
        3.0 * self.short().flops() + self.long().flops()
    }

    /// Bytes that must move at least: the long convolution's, of which the projections take the place of what the short
    /// ones give.
    pub fn least_bytes(&self) -> u64 {
        self.long().least_bytes()
    }

    /// Fails if a size is 0, the filter is longer than a sequence, the short convolutions have a width that there is none
    /// of, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        self.short().check()?;
        self.long().check()
    }
}

impl fmt::Display for HyenaSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, channels, length, width, taps } = self;
        write!(f, "Hyena {dtype} {batch} × {channels} × {length}, {taps} taps, short convolutions of {width}")
    }
}
