//! Plans of the butterfly family.

mod monarch;
mod product;

pub use monarch::{BlockTile, MonarchPath, MonarchPlan, MonarchRows};
pub use product::{ButterflyBackwardPlan, ButterflyPass, ButterflyPlan, ButterflyTile};
pub(crate) use product::{SUM_LANES, Side};
