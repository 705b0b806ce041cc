//! Specs of the butterfly family.

mod monarch;

pub use monarch::MonarchSpec;
