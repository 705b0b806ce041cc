//! Oracles of the butterfly family.

mod monarch;
mod monarch_backward;

pub use monarch::monarch;
pub use monarch_backward::{MonarchGradients, monarch_backward};
