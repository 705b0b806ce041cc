//! Yardsticks of the butterfly family.

mod monarch;

pub use monarch::{Dense, MonarchScratch, UnfusedMonarch, UnfusedMonarchPlan, shaders};
