//! Operations of the butterfly family.

mod block_tile;
mod monarch;
mod monarch_backward;

pub use monarch::shaders as monarch_shaders;
pub use monarch::{Monarch, MonarchInputs};
pub use monarch_backward::shaders as monarch_backward_shaders;
pub use monarch_backward::{MonarchBackward, MonarchGradients};
