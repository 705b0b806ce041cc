//! What can go wrong, with the numbers that a person needs to mend it.

use std::fmt;

use crate::shader::ShaderError;
use crate::shader::snippet::SnippetError;
use crate::{Bytes, DType};

/// Why a spec cannot be computed by anyone: the request itself is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// A number is outside what the operation is defined for.
    #[error("{name} is {found}, expected {expected}")]
    Value {
        /// Which number.
        name: &'static str,
        /// What was given.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// The product of a tensor's sizes does not fit the address space of a kernel.
    #[error("{tensor} of shape {shape:?} has too many elements: the limit is 2^31 - 1")]
    Elements {
        /// Which tensor.
        tensor: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
}

/// Why a valid spec cannot be planned on an adapter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The spec itself is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// WGSL by the user is not what it must be.
    #[error(transparent)]
    Snippet(#[from] SnippetError),
    /// A tensor is larger than one storage binding of the adapter.
    #[error("{tensor}: {} needed ({bytes} bytes), this adapter binds at most {} at once ({limit} bytes)", Bytes(*.bytes), Bytes(*.limit))]
    Binding {
        /// Which tensor.
        tensor: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// The adapter's limit in bytes.
        limit: u64,
    },
    /// A tensor is larger than one buffer of the adapter, of which an operation binds parts.
    #[error("{tensor}: {} needed ({bytes} bytes), a buffer of this adapter holds at most {} ({limit} bytes)", Bytes(*.bytes), Bytes(*.limit))]
    Buffer {
        /// Which tensor.
        tensor: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// The adapter's limit in bytes.
        limit: u64,
    },
    /// Even the smallest plan exceeds a limit of the adapter.
    #[error("{kernel} needs at least {needed} {resource}, this adapter has {limit}")]
    TooSmall {
        /// The kernel.
        kernel: &'static str,
        /// Which limit.
        resource: &'static str,
        /// What the smallest plan needs.
        needed: u64,
        /// What the adapter has.
        limit: u64,
    },
}

/// Everything that an operation on a GPU can report.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is wrong, or does not fit this adapter.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No adapter answers the request.
    #[error("no GPU adapter found: {0}")]
    NoAdapter(String),
    /// The adapter refused to open a device.
    #[error("the adapter {adapter} opened no device: {reason}")]
    NoDevice {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// The device is gone: unplugged, reset by the driver, or destroyed.
    #[error("the GPU device was lost: {0}")]
    DeviceLost(String),
    /// A buffer larger than the device allows, or than its memory.
    #[error("cannot allocate {} for {what}: {reason}", Bytes(*.bytes))]
    Allocation {
        /// What the buffer is for.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// Why not.
        reason: String,
    },
    /// A tensor does not have the shape that the operation was planned for.
    #[error("{tensor} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which tensor.
        tensor: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape in the spec.
        expected: Vec<usize>,
    },
    /// A tensor does not have the element type that the operation was planned for.
    #[error("{tensor} holds {found}, expected {expected}")]
    DType {
        /// Which tensor.
        tensor: &'static str,
        /// Its element type.
        found: DType,
        /// The element type in the spec.
        expected: DType,
    },
    /// A tensor that the spec asks for was not given, or one was given that it does not ask for.
    #[error("{tensor} is {}, but the spec {}", given(*.expected, "missing", "given"), given(*.expected, "needs it", "has no use for it"))]
    Presence {
        /// Which tensor.
        tensor: &'static str,
        /// Whether the spec needs it.
        expected: bool,
    },
    /// A buffer that mods read is missing or holds something else, or one is given that they do not read.
    #[error("the mods' buffer {name:?} {problem}")]
    Buffer {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor lives on another [`Gpu`](crate::Gpu) than the operation.
    #[error("{tensor} was made with another Gpu than the operation; clone one Gpu to share it")]
    Foreign {
        /// Which tensor.
        tensor: &'static str,
    },
    /// The number of elements does not agree with a shape.
    #[error("{found} elements do not fill shape {shape:?}, which has {expected}")]
    Length {
        /// The shape.
        shape: Vec<usize>,
        /// Elements given.
        found: usize,
        /// Elements that the shape has.
        expected: usize,
    },
    /// A kernel computed something else than it should: a bug of this library or of the driver.
    #[error("{what}: wrong answer: {tensor} differs by {}, allowed is {}", Rounded(*.error), Rounded(*.allowed))]
    Wrong {
        /// What was computed, and by which implementation.
        what: String,
        /// Which output.
        tensor: &'static str,
        /// The largest error, NaN where an element is not a number.
        error: f64,
        /// The largest error allowed.
        allowed: f64,
    },
    /// A shader could not be put together: a bug of this library.
    #[error("a bug of tilewise: {0}")]
    Shader(#[from] ShaderError),
    /// The driver or wgpu refused something: a bug of this library or of the driver.
    #[error("{label}: the GPU refused: {message}")]
    Gpu {
        /// What was being done.
        label: String,
        /// wgpu's words.
        message: String,
    },
}

/// A number that is not negative to three digits, as `{:.2e}` writes it. What the standard library needs for that would be a
/// per cent of a browser's package.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut size, mut exponent) = (self.0, 0);
        if size.is_nan() {
            return f.write_str("NaN");
        }
        if size.is_infinite() {
            return f.write_str("inf");
        }
        while size >= 9.995 {
            size /= 10.0;
            exponent += 1;
        }
        while size > 0.0 && size < 0.9995 {
            size *= 10.0;
            exponent -= 1;
        }
        let digits = (size * 100.0).round() as u32;
        write!(f, "{}.{:02}e{exponent}", digits / 100, digits % 100)
    }
}

fn given(expected: bool, yes: &'static str, no: &'static str) -> &'static str {
    if expected { yes } else { no }
}

impl From<SnippetError> for Error {
    fn from(error: SnippetError) -> Self {
        Self::Plan(error.into())
    }
}

impl From<SpecError> for Error {
    fn from(error: SpecError) -> Self {
        Self::Plan(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::Rounded;

    #[test]
    fn errors_are_told_to_three_digits() {
        let values = [
            0.0,
            1.0,
            0.1,
            9.99,
            9.996,
            12_345.0,
            1e300,
            3.2e-7,
            0.000_999_6,
            1e-300,
            f64::NAN,
            f64::INFINITY,
        ];
        for value in values {
            assert_eq!(Rounded(value).to_string(), format!("{value:.2e}"));
        }
    }
}
