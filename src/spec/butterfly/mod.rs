//! Specs of the butterfly family.

mod linear;
mod monarch;

pub use linear::LinearSpec;
pub use monarch::MonarchSpec;
