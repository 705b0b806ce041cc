//! Running sums and maxima.

use std::fmt;

use super::row_scan::{RowScan, ScanOperator};
use crate::spec::{at_least_one, elements};
use crate::{DType, SpecError};

/// A scan `y_t = x_1 ∘ … ∘ x_t` by an associative operator, independently for every batch and channel. That of affine
/// maps is a [`LinearScanSpec`](crate::LinearScanSpec).
///
/// Tensors: `x` and `y` of shape (batch, channels, length) in `dtype`; the initial value, which all begin with, and the
/// value after the last step of shape (batch, channels) in f32.
///
/// Maxima: without an initial value rows begin with the least finite number of `dtype`, as which -∞ counts. The
/// gradient of a maximum goes to the step that set it: the first that is greater than all before it, so of equal steps
/// the first, and the initial value before all of them; ties are those of the stored type. A NaN makes maxima of its
/// own row undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AssociativeScanSpec {
    /// Storage of `x` and `y`; sums are f32 always.
    pub dtype: DType,
    /// The operator.
    pub operator: AssociativeOperator,
    /// Batch size.
    pub batch: usize,
    /// Channels of a batch.
    pub channels: usize,
    /// Steps.
    pub length: usize,
    /// Whether an initial value is given.
    pub initial: bool,
    /// Whether steps are taken from the last to the first.
    pub reverse: bool,
    /// Whether `y` holds at each step the value before it.
    pub exclusive: bool,
}

/// What an associative scan combines steps by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum AssociativeOperator {
    /// `x + y`, from 0 on.
    Sum,
    /// `max(x, y)`.
    Max,
}

impl AssociativeOperator {
    /// Every operator.
    pub const ALL: [Self; 2] = [Self::Sum, Self::Max];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "max",
        }
    }
}

impl AssociativeScanSpec {
    /// An inclusive scan from the first step to the last.
    pub fn new(
        dtype: DType,
        operator: AssociativeOperator,
        batch: usize,
        channels: usize,
        length: usize,
    ) -> Self {
        let (initial, reverse, exclusive) = (false, false, false);
        Self { dtype, operator, batch, channels, length, initial, reverse, exclusive }
    }

    /// Takes an initial value.
    #[must_use]
    pub fn initial(self) -> Self {
        Self { initial: true, ..self }
    }

    /// Takes steps from the last to the first.
    #[must_use]
    pub fn reverse(self) -> Self {
        Self { reverse: true, ..self }
    }

    /// Gives the value before each step.
    #[must_use]
    pub fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }

    /// Shape of `x` and `y`.
    pub fn shape(&self) -> [usize; 3] {
        [self.batch, self.channels, self.length]
    }

    /// Shape of the initial and the last value.
    pub fn state_shape(&self) -> [usize; 2] {
        [self.batch, self.channels]
    }

    /// Independent scans.
    pub fn rows(&self) -> usize {
        self.batch * self.channels
    }

    /// Bytes that must move at least: `x` in, `y` out.
    pub fn least_bytes(&self) -> u64 {
        2 * (self.rows() * self.length * self.dtype.bytes()) as u64
    }

    /// What rows begin with where no initial value is given.
    pub fn start(&self) -> f64 {
        match (self.operator, self.dtype) {
            (AssociativeOperator::Sum, _) => 0.0,
            (AssociativeOperator::Max, DType::F32) => f32::MIN.into(),
            (AssociativeOperator::Max, DType::F16) => half::f16::MIN.into(),
            (AssociativeOperator::Max, DType::Bf16) => half::bf16::MIN.into(),
        }
    }

    /// Fails if a size is 0 or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[("batch", self.batch), ("channels", self.channels), ("length", self.length)])?;
        elements("x", &self.shape()).map(drop)
    }

    pub(crate) fn row_scan(&self) -> RowScan {
        let Self { dtype, length, initial, reverse, exclusive, .. } = *self;
        let operator = match self.operator {
            AssociativeOperator::Sum => ScanOperator::Sum,
            AssociativeOperator::Max => ScanOperator::Max,
        };
        RowScan { dtype, rows: self.rows(), length, operator, initial, reverse, exclusive }
    }
}

impl fmt::Display for AssociativeScanSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, channels, length, .. } = self;
        write!(f, "associative scan {} {dtype} {batch} × {channels} × {length}", self.operator.name())?;
        let options =
            [(self.initial, ", initial value"), (self.reverse, ", reverse"), (self.exclusive, ", exclusive")];
        options.iter().filter(|(on, _)| *on).try_for_each(|(_, name)| f.write_str(name))
    }
}
