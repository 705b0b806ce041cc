//! Plans of the butterfly family.

mod block_sparse;
mod block_tile;
mod monarch;
mod monarch_backward;
mod outer;

pub use block_sparse::{BlockSoftmaxPlan, BlockSparsePath, BlockSparsePlan, SparseProductPlan};
pub use block_tile::BlockTile;
pub use monarch::{MonarchPath, MonarchPlan, MonarchRows};
pub use monarch_backward::MonarchBackwardPlan;
pub use outer::OuterPlan;
pub(crate) use outer::SUM_LANES;
