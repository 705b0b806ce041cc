//! Plans of the butterfly family.

mod monarch;
mod product;

pub use monarch::{BlockTile, MonarchPath, MonarchPlan, MonarchRows};
pub use product::{ButterflyBackwardPlan, ButterflyPass, ButterflyPlan, ButterflyTile};
pub(crate) use product::{GRADIENT_LANES, SUM_LANES, Side, gradient_cells};
