//! Projections: the structured matrix nearest to a dense one, found on the host in f64.
//!
//! An optional feature, `project`: it brings a linear-algebra crate, which the kernels have no use for.

mod monarch;

pub use faer::c64;
pub use monarch::{
    MonarchFactors, MonarchProjection, fourier, monarch, monarch_dense, monarch_of_reals, monarch_shape,
};

use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Mul, Sub};

/// The numbers that matrices are of: `f64`, and [`c64`] for transforms.
pub trait Number:
    faer::traits::ComplexField
    + Copy
    + Debug
    + Default
    + Display
    + Add<Output = Self>
    + AddAssign
    + Mul<Output = Self>
    + Sub<Output = Self>
{
    /// A real number times this.
    #[must_use]
    fn scaled(self, factor: f64) -> Self;

    /// The complex conjugate.
    #[must_use]
    fn conjugate(self) -> Self;

    /// The absolute value.
    fn modulus(self) -> f64;
}

impl Number for f64 {
    fn scaled(self, factor: f64) -> Self {
        self * factor
    }

    fn conjugate(self) -> Self {
        self
    }

    fn modulus(self) -> f64 {
        self.abs()
    }
}

impl Number for c64 {
    fn scaled(self, factor: f64) -> Self {
        self * factor
    }

    fn conjugate(self) -> Self {
        self.conj()
    }

    fn modulus(self) -> f64 {
        self.norm()
    }
}
