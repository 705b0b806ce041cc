//! Oracles of the butterfly family.

mod block_sparse;
mod butterfly_linear;
mod monarch;
mod monarch_backward;
mod monarch_linear;
mod pixelfly;
mod product;

pub use block_sparse::{block_softmax, block_softmax_backward, block_sparse};
pub use butterfly_linear::{ButterflyLinearGradients, butterfly_linear, butterfly_linear_backward};
pub use monarch::monarch;
pub use product::{ButterflyGradients, butterfly, butterfly_backward};

pub use monarch_backward::{MonarchGradients, monarch_backward};
pub use monarch_linear::{bias_gradient, monarch_linear};
pub use pixelfly::{PixelflyGradients, PixelflyOperands, pixelfly, pixelfly_backward};
