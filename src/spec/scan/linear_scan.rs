//! The linear scan.

use std::fmt;

use super::row_scan::{RowScan, ScanOperator};
use crate::spec::{at_least_one, elements};
use crate::{DType, SpecError};

/// The linear recurrence `h_t = a_t h_(t-1) + b_t`, independently for every batch and channel.
///
/// Tensors: `a`, `b` and `h` of shape (batch, channels, length) in `dtype`; the initial state and the state after
/// the last step of shape (batch, channels) in f32. Without an initial state rows begin with 0. Complex tensors end in
/// one more dimension of 2: real and imaginary part.
///
/// Products of consecutive `a` are taken in f32. Where they overflow, so does every state that they multiply but 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct LinearScanSpec {
    /// Storage of `a`, `b` and `h`; states are f32 always.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Channels of a batch.
    pub channels: usize,
    /// Steps.
    pub length: usize,
    /// Whether `a`, `b` and the states are complex.
    pub complex: bool,
    /// Whether an initial state is given.
    pub initial: bool,
    /// Whether steps are taken from the last to the first: `h_t = a_t h_(t+1) + b_t`. The initial state then belongs
    /// behind the last step, and the last state is that of the first.
    pub reverse: bool,
    /// Whether `h` holds at each step the state before it, so that it begins with the initial state. The last state is
    /// the one after all steps as ever.
    pub exclusive: bool,
}

impl LinearScanSpec {
    /// A real scan that begins with a state of 0.
    pub fn new(dtype: DType, batch: usize, channels: usize, length: usize) -> Self {
        let (complex, initial, reverse, exclusive) = (false, false, false, false);
        Self { dtype, batch, channels, length, complex, initial, reverse, exclusive }
    }

    /// Makes `a`, `b` and the states complex.
    #[must_use]
    pub fn complex(self) -> Self {
        Self { complex: true, ..self }
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

    /// Gives the state before each step.
    #[must_use]
    pub fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }

    /// Shape of `a`, `b` and `h`.
    pub fn shape(&self) -> Vec<usize> {
        self.numbers(&[self.batch, self.channels, self.length])
    }

    /// Shape of the initial and the last state.
    pub fn state_shape(&self) -> Vec<usize> {
        self.numbers(&[self.batch, self.channels])
    }

    /// The shape of a tensor of real or complex numbers.
    fn numbers(&self, shape: &[usize]) -> Vec<usize> {
        shape.iter().copied().chain(self.complex.then_some(2)).collect()
    }

    /// Numbers of a state: 2 if complex.
    pub fn parts(&self) -> usize {
        if self.complex { 2 } else { 1 }
    }

    /// Independent recurrences.
    pub fn rows(&self) -> usize {
        self.batch * self.channels
    }

    /// Floating-point operations of the recurrence: a multiply and an add a step, or those of complex numbers.
    pub fn flops(&self) -> f64 {
        (if self.complex { 8.0 } else { 2.0 }) * (self.rows() * self.length) as f64
    }

    /// Bytes that must move at least: `a` and `b` in, `h` out.
    pub fn least_bytes(&self) -> u64 {
        3 * (self.rows() * self.length * self.parts() * self.dtype.bytes()) as u64
    }

    /// Fails if a size is 0 or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[("batch", self.batch), ("channels", self.channels), ("length", self.length)])?;
        elements("a", &self.shape()).map(drop)
    }

    pub(crate) fn row_scan(&self) -> RowScan {
        let Self { dtype, length, initial, reverse, exclusive, .. } = *self;
        let operator = if self.complex { ScanOperator::AffineComplex } else { ScanOperator::Affine };
        RowScan { dtype, rows: self.rows(), length, operator, initial, reverse, exclusive }
    }
}

impl fmt::Display for LinearScanSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, channels, length, .. } = self;
        write!(f, "linear scan {dtype} {batch} × {channels} × {length}")?;
        let options = [
            (self.complex, ", complex"),
            (self.initial, ", initial state"),
            (self.reverse, ", reverse"),
            (self.exclusive, ", exclusive"),
        ];
        options.iter().filter(|(on, _)| *on).try_for_each(|(_, name)| f.write_str(name))
    }
}
