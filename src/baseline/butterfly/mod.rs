//! Yardsticks of the butterfly family.

mod monarch;
mod product;

pub use monarch::{Dense, MonarchScratch, UnfusedMonarch, UnfusedMonarchPlan, shaders};
pub use product::{ButterflyScratch, UnfusedButterfly, UnfusedButterflyPlan, shaders as butterfly_shaders};
