//! Backward passes as workloads of their own.

use std::fmt;

/// The backward pass of a spec.
#[derive(Clone, Debug)]
pub struct Backward<S>(pub S);

impl<S: fmt::Display> fmt::Display for Backward<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, backward", self.0)
    }
}
