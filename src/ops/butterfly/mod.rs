//! Operations of the butterfly family.

mod block_sparse;
mod block_tile;
mod butterfly_linear;
mod monarch;
mod product;

mod monarch_backward;
mod monarch_linear;
mod pixelfly;

pub use block_sparse::{
    BlockSoftmax, BlockSparse, shaders as block_sparse_shaders, softmax_shaders as block_softmax_shaders,
};
pub use butterfly_linear::{
    ButterflyLinear, ButterflyLinearGradients, ButterflyLinearInputs, shaders as butterfly_linear_shaders,
};
pub use monarch::{Monarch, MonarchInputs, shaders as monarch_shaders};
pub use product::{
    Butterfly, ButterflyBackward, ButterflyGradients, ButterflyInputs,
    backward_shaders as butterfly_backward_shaders, shaders as butterfly_shaders,
};

pub use monarch_backward::{MonarchBackward, MonarchGradients, shaders as monarch_backward_shaders};
pub use monarch_linear::{MonarchLinear, MonarchLinearGradients, shaders as monarch_linear_shaders};
pub use pixelfly::{
    PixelflyBackward, PixelflyGradients, PixelflyInputs, PixelflyLinear,
    backward_shaders as pixelfly_backward_shaders, shaders as pixelfly_shaders,
};
