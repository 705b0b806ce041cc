//! Plans of the butterfly family.

mod block_sparse;
mod block_tile;
mod butterfly_linear;
mod column_sums;
mod monarch;
mod monarch_backward;
mod monarch_linear;
mod outer;
mod pixelfly;
mod product;
mod product_tile;

pub use block_sparse::{BlockSoftmaxPlan, BlockSparsePath, BlockSparsePlan, SparseProductPlan};
pub use block_tile::BlockTile;
pub use butterfly_linear::ButterflyLinearPlan;
pub(crate) use butterfly_linear::Sides;
pub use column_sums::ColumnSumsPlan;
pub use monarch::{MonarchPath, MonarchPlan, MonarchRows};
pub use monarch_backward::MonarchBackwardPlan;
pub use monarch_linear::MonarchLinearPlan;
pub use outer::OuterPlan;
pub(crate) use pixelfly::{DOT_ELEMENTS, DOT_LANES};
pub use pixelfly::{PixelflyBackwardPlan, PixelflyPlan, PixelflyStorage};
pub use product::{ButterflyBackwardPlan, ButterflyPass, ButterflyPlan, ButterflyTile};
pub(crate) use product::{GRADIENT_LANES, Side, Window, gradient_cells};
pub use product_tile::ProductTile;
