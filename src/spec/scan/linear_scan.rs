//! The linear scan.

use std::fmt;

use crate::spec::{at_least_one, elements};
use crate::{DType, SpecError};

/// The linear recurrence `h_t = a_t h_(t-1) + b_t`, independently for every batch and channel.
///
/// Tensors: `a`, `b` and `h` of shape (batch, channels, length) in `dtype`; the initial state and the state after
/// the last step of shape (batch, channels) in f32. Without an initial state rows begin with 0.
///
/// Products of consecutive `a` are taken in f32. Where they overflow, so does every state that they multiply but 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LinearScanSpec {
    /// Storage of `a`, `b` and `h`; states are f32 always.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Channels of a batch.
    pub channels: usize,
    /// Steps.
    pub length: usize,
    /// Whether an initial state is given.
    pub initial: bool,
    /// Whether steps are taken from the last to the first: `h_t = a_t h_(t+1) + b_t`. The initial state then belongs
    /// behind the last step, and the last state is that of the first.
    pub reverse: bool,
}

impl LinearScanSpec {
    /// A scan that begins with a state of 0.
    pub fn new(dtype: DType, batch: usize, channels: usize, length: usize) -> Self {
        Self { dtype, batch, channels, length, initial: false, reverse: false }
    }

    /// Takes an initial state.
    #[must_use]
    pub fn initial(self) -> Self {
        Self { initial: true, ..self }
    }

    /// Takes steps from the last to the first.
    #[must_use]
    pub fn reverse(self) -> Self {
        Self { reverse: true, ..self }
    }

    /// Shape of `a`, `b` and `h`.
    pub fn shape(&self) -> [usize; 3] {
        [self.batch, self.channels, self.length]
    }

    /// Shape of the initial and the last state.
    pub fn state_shape(&self) -> [usize; 2] {
        [self.batch, self.channels]
    }

    /// Independent recurrences.
    pub fn rows(&self) -> usize {
        self.batch * self.channels
    }

    /// Bytes that must move at least: `a` and `b` in, `h` out.
    pub fn least_bytes(&self) -> u64 {
        3 * (self.rows() * self.length * self.dtype.bytes()) as u64
    }

    /// Fails if a size is 0 or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[("batch", self.batch), ("channels", self.channels), ("length", self.length)])?;
        elements("a", &self.shape()).map(drop)
    }
}

impl fmt::Display for LinearScanSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, channels, length, initial, reverse } = self;
        let reverse = if *reverse { ", reverse" } else { "" };
        let initial = if *initial { ", initial state" } else { "" };
        write!(f, "linear scan {dtype} {batch} × {channels} × {length}{initial}{reverse}")
    }
}
