//! Specs of the butterfly family.

mod linear;
mod monarch;
mod product;

pub use linear::LinearSpec;
pub use monarch::MonarchSpec;
pub use product::ButterflySpec;
