//! Plans of the butterfly family.

mod butterfly_linear;
mod monarch;
mod product;

pub use butterfly_linear::ButterflyLinearPlan;
pub(crate) use butterfly_linear::Sides;
pub use monarch::{BlockTile, MonarchPath, MonarchPlan, MonarchRows};
pub use product::{ButterflyBackwardPlan, ButterflyPass, ButterflyPlan, ButterflyTile, SumPlan};
pub(crate) use product::{GRADIENT_LANES, Side, gradient_cells};
