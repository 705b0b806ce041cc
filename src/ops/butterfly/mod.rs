//! Operations of the butterfly family.

mod block_tile;
mod monarch;
mod product;

pub use monarch::{Monarch, MonarchInputs, shaders as monarch_shaders};
pub use product::{
    Butterfly, ButterflyBackward, ButterflyGradients, ButterflyInputs,
    backward_shaders as butterfly_backward_shaders, shaders as butterfly_shaders,
};
mod monarch_backward;

pub use monarch_backward::{MonarchBackward, MonarchGradients, shaders as monarch_backward_shaders};
