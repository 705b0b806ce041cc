//! Why an operation gave no result.

use std::fmt;

use tilewise::{Error, PlanError, SpecError};

/// Why an operation gave no result.
#[derive(Clone, Debug)]
pub enum Failure {
    /// A tensor or an option is wrong: a person can mend it.
    Input(String),
    /// A result is wrong.
    Check(String),
    /// The library's error.
    Library(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(message) | Self::Check(message) => f.write_str(message),
            Self::Library(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
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
