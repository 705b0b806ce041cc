//! Oracles of the butterfly family.

mod monarch;
mod product;

pub use monarch::monarch;
pub use product::{ButterflyGradients, butterfly, butterfly_backward};
mod monarch_backward;

pub use monarch_backward::{MonarchGradients, monarch_backward};
