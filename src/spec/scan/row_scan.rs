//! What scans along rows have in common.

use crate::DType;

/// The associative operator of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum ScanOperator {
    /// Affine maps of real numbers: a linear recurrence.
    Affine,
    /// Affine maps of complex numbers.
    AffineComplex,
    /// Addition.
    Sum,
    /// The larger of two.
    Max,
}

/// A scan along rows in the terms of its kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowScan {
    pub dtype: DType,
    pub rows: usize,
    pub length: usize,
    pub operator: ScanOperator,
    pub initial: bool,
    pub reverse: bool,
    pub exclusive: bool,
}

impl RowScan {
    /// The scan of a backward pass: the other way, from nothing, by the operator of the gradients.
    pub fn backward(self) -> Self {
        let operator = match self.operator {
            ScanOperator::Max => ScanOperator::Affine,
            operator => operator,
        };
        Self { operator, initial: false, reverse: !self.reverse, ..self }
    }

    /// Elements of a tensor with a value for each step.
    pub fn elements(&self) -> usize {
        self.rows * self.length * self.operator.value_words()
    }
}

impl ScanOperator {
    /// Numbers of a value.
    pub fn value_words(self) -> usize {
        if self == Self::AffineComplex { 2 } else { 1 }
    }

    /// Numbers of what a step does to a value.
    pub fn map_words(self) -> usize {
        match self {
            Self::Affine => 2,
            Self::AffineComplex => 4,
            Self::Sum | Self::Max => 1,
        }
    }
}
