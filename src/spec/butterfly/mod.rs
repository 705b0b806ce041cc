//! Specs of the butterfly family.

mod block_mask;
mod block_sparse;
mod linear;
mod monarch;
mod pixelfly;

pub use block_mask::BlockMask;
pub use block_sparse::{BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec};
pub use linear::LinearSpec;
pub use monarch::MonarchSpec;
pub use pixelfly::{PixelflyConfig, PixelflySpec, PixelflyWeights};
