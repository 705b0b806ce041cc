//! Element types as they are stored; arithmetic inside the kernels is always f32.

use std::fmt;

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum DType {
    /// IEEE 754 binary32.
    // Not 0: comparing with 0 takes other instructions than comparing with a number, and what is compiled for each of the
    // types would not be alike, so that a browser's package would hold it twice.
    F32 = 1,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
}

impl DType {
    /// Every element type, for tests and listings.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// Evaluates an expression with `T` standing for the Rust type of a [`DType`].
///
/// ```
/// use tilewise::{DType, Element, by_dtype};
///
/// assert_eq!(by_dtype!(DType::F16, T => T::from_f64(0.1).to_f64()), 0.0999755859375);
/// ```
#[macro_export]
macro_rules! by_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F16 => {
                type $T = $crate::half::f16;
                $body
            }
            $crate::DType::Bf16 => {
                type $T = $crate::half::bf16;
                $body
            }
        }
    };
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
    impl Sealed for u32 {}
    impl Sealed for i32 {}
    impl Sealed for i8 {}
}

/// A Rust type that a [`Tensor`](crate::Tensor) can hold: an [`Element`], `u32` or `i32` for tables, or `i8` for what was
/// quantised.
pub trait Stored: sealed::Sealed + bytemuck::Pod + fmt::Debug + Send + Sync {
    /// Its name in messages.
    const NAME: &'static str;
}

impl Stored for f32 {
    const NAME: &'static str = "f32";
}

impl Stored for half::f16 {
    const NAME: &'static str = "f16";
}

impl Stored for half::bf16 {
    const NAME: &'static str = "bf16";
}

impl Stored for u32 {
    const NAME: &'static str = "u32";
}

impl Stored for i32 {
    const NAME: &'static str = "i32";
}

impl Stored for i8 {
    const NAME: &'static str = "i8";
}

/// A Rust type of tensors that operations compute with: `f32`, [`half::f16`] or [`half::bf16`].
pub trait Element: Stored {
    /// The element type on the device.
    const DTYPE: DType;
    /// Rounds to nearest, ties to even; what is too large becomes infinite.
    fn from_f64(value: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    fn from_f64(value: f64) -> Self {
        value as Self
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
    fn from_f64(value: f64) -> Self {
        Self::from_f64(value)
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Element for half::bf16 {
    const DTYPE: DType = DType::Bf16;
    fn from_f64(value: f64) -> Self {
        Self::from_f64(value)
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}
