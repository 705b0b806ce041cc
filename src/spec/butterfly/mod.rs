//! Specs of the butterfly family.

mod block_mask;
mod block_sparse;
mod linear;
mod monarch;

pub use block_mask::BlockMask;
pub use block_sparse::{BlockSoftmaxSpec, BlockSparseMode, BlockSparseSpec};
pub use linear::LinearSpec;
pub use monarch::MonarchSpec;
