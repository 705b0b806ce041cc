//! Specs of the butterfly family.

mod linear;
mod monarch;
mod product;

pub use linear::LinearSpec;
pub use monarch::MonarchSpec;
pub use product::ButterflySpec;
mod block_mask;
mod block_sparse;
mod pixelfly;

pub use block_mask::BlockLayout;
pub use block_sparse::{BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec};
pub use pixelfly::{PixelflyConfig, PixelflySpec, PixelflyWeights};
