//! Oracles of the butterfly family.

mod butterfly_linear;
mod monarch;
mod product;

pub use butterfly_linear::{ButterflyLinearGradients, butterfly_linear, butterfly_linear_backward};
pub use monarch::monarch;
pub use product::{ButterflyGradients, butterfly, butterfly_backward};
