//! Why a command stopped, and the exit code that says so.

use std::fmt;
use std::io;

use tilewise::{Error, PlanError, SpecError};
use tilewise_named::Why;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The input, an option or a path is wrong: a person can mend it.
    Input(String),
    /// A check found a wrong result.
    Check(String),
    /// The library's error; its kind decides the exit code.
    Library(Error),
    /// The user stopped it, and what was done until then is kept.
    Stopped(String),
    /// Whoever read the output has read enough, as `head` does. Not an error.
    PipeClosed,
}

/// What the exit codes mean; part of `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0  all is well
  1  a check failed, or the GPU did
  2  the input, an option or an output path is wrong
  3  no adapter was found
130  it was stopped by Ctrl-C";

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PipeClosed => 0,
            Self::Check(_) => 1,
            Self::Stopped(_) => 130,
            Self::Input(_) => 2,
            Self::Library(error) => match error {
                Error::NoAdapter(_) => 3,
                // What was asked for is wrong, or too much for this adapter.
                Error::Plan(_)
                | Error::Allocation { .. }
                | Error::Shape { .. }
                | Error::DType { .. }
                | Error::Presence { .. }
                | Error::Foreign { .. }
                | Error::Length { .. } => 2,
                _ => 1,
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) | Self::Check(message) | Self::Stopped(message) => f.write_str(message),
            Self::Library(error @ Error::NoAdapter(_)) => write!(
                f,
                "{error}\nA software adapter will do: Mesa's lavapipe (mesa-vulkan-drivers on Debian), or Windows' own \
                 WARP."
            ),
            Self::Library(error) => error.fmt(f),
            Self::PipeClosed => f.write_str("the output was closed"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<tilewise_named::Failure> for Failure {
    fn from(failure: tilewise_named::Failure) -> Self {
        match failure.why() {
            Why::Input(message) => Self::Input(message),
            Why::Check(message) => Self::Check(message),
            Why::Library(error) => Self::Library(error),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::Library(error.into())
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        Self::Library(error.into())
    }
}

/// Errors of writing to standard output; files have messages that name them.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::PipeClosed,
            _ => Self::Input(format!("cannot write to standard output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_as_documented() {
        let gone = || "gone".to_owned();
        let refused = Error::Gpu { label: gone(), message: gone() };
        let wrong = SpecError::Value { name: "q_len", found: gone(), expected: gone() };
        for (failure, code) in [
            (Failure::PipeClosed, 0),
            (Failure::Check(gone()), 1),
            (Failure::Stopped(gone()), 130),
            (Error::DeviceLost(gone()).into(), 1),
            (refused.into(), 1),
            (Failure::Input(gone()), 2),
            (wrong.into(), 2),
            (PlanError::Binding { tensor: "q", bytes: 2, limit: 1 }.into(), 2),
            (Error::NoAdapter(gone()).into(), 3),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }
}
