//! Plans of the butterfly family.

mod monarch;

pub use monarch::{BlockTile, MonarchPath, MonarchPlan, MonarchRows};
