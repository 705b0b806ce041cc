//! Plans of the butterfly family.

mod block_tile;
mod monarch;
mod monarch_backward;
mod outer;
mod product;

pub use block_tile::BlockTile;
pub use monarch::{MonarchPath, MonarchPlan, MonarchRows};
pub use monarch_backward::MonarchBackwardPlan;
pub use outer::OuterPlan;
pub(crate) use outer::SUM_LANES;
pub use product::{ButterflyBackwardPlan, ButterflyPass, ButterflyPlan, ButterflyTile};
pub(crate) use product::{GRADIENT_LANES, Side, gradient_cells};
