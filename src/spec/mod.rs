//! What to compute: plain data, with no knowledge of any machine.
//!
//! A spec holds the sizes and options of one operation. Its `check` says whether anyone could compute it; planning
//! checks it again, so that a spec changed by hand cannot slip through.

mod attention;
mod butterfly;
mod scan;

pub use attention::{Alibi, AttentionSpec, Window};
pub use butterfly::MonarchSpec;
pub use scan::LinearScanSpec;

use crate::SpecError;

/// Fails unless every size is at least 1.
fn at_least_one(sizes: &[(&'static str, usize)]) -> Result<(), SpecError> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(wrong(name, &0, "at least 1")),
        None => Ok(()),
    }
}

fn wrong(name: &'static str, found: &dyn std::fmt::Display, expected: impl Into<String>) -> SpecError {
    SpecError::Value { name, found: found.to_string(), expected: expected.into() }
}
