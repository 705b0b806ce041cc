//! Specs of the butterfly family.

mod butterfly_linear;
mod linear;
mod monarch;
mod product;

pub use butterfly_linear::ButterflyLinearSpec;
pub use linear::LinearSpec;
pub use monarch::MonarchSpec;
pub use product::ButterflySpec;
