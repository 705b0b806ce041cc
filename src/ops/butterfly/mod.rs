//! Operations of the butterfly family.

mod block_sparse;
mod block_tile;
mod monarch;
mod monarch_backward;
mod pixelfly;

pub use block_sparse::shaders as block_sparse_shaders;
pub use block_sparse::softmax_shaders as block_softmax_shaders;
pub use block_sparse::{BlockSoftmax, BlockSparse};
pub use monarch::shaders as monarch_shaders;
pub use monarch::{Monarch, MonarchInputs};
pub use monarch_backward::shaders as monarch_backward_shaders;
pub use monarch_backward::{MonarchBackward, MonarchGradients};
pub use pixelfly::backward_shaders as pixelfly_backward_shaders;
pub use pixelfly::shaders as pixelfly_shaders;
pub use pixelfly::{PixelflyBackward, PixelflyGradients, PixelflyInputs, PixelflyLinear};
