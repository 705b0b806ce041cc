//! Why an operation gave no result.

use std::fmt;

use tilewise::{Error, PlanError, SpecError};

/// Why an operation gave no result. One word, and made out of the way: nearly everything can fail, and a browser's package
/// is shorter for it.
#[derive(Clone, Debug)]
pub struct Failure(Box<Why>);

/// What is wrong.
#[derive(Clone, Debug)]
pub enum Why {
    /// A tensor or an option is wrong: a person can mend it.
    Input(String),
    /// A result is wrong.
    Check(String),
    /// The library's error.
    Library(Error),
}

impl Failure {
    #[cold]
    #[inline(never)]
    fn new(why: Why) -> Self {
        Self(Box::new(why))
    }

    /// A tensor or an option is wrong.
    #[inline(never)]
    pub fn input(message: String) -> Self {
        Self::new(Why::Input(message))
    }

    /// A result is wrong.
    pub fn check(message: String) -> Self {
        Self::new(Why::Check(message))
    }

    /// What is wrong.
    pub fn why(self) -> Why {
        *self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Why::Input(message) | Why::Check(message) => f.write_str(message),
            Why::Library(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    #[inline(never)]
    fn from(error: Error) -> Self {
        Self::new(Why::Library(error))
    }
}

impl From<PlanError> for Failure {
    #[inline(never)]
    fn from(error: PlanError) -> Self {
        Self::new(Why::Library(error.into()))
    }
}

impl From<SpecError> for Failure {
    #[inline(never)]
    fn from(error: SpecError) -> Self {
        Self::new(Why::Library(error.into()))
    }
}
