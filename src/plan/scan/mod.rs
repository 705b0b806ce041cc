//! Plans of the scan family.

mod linear_scan;
mod long_conv;
mod long_conv_step;
mod s4d;

pub use linear_scan::LinearScanPlan;
pub use long_conv::{LongConvBackwardPlan, LongConvPlan};
pub(crate) use long_conv::{LongConvStage, Reads, Writes};
pub use long_conv_step::LongConvStepPlan;
pub use s4d::S4dPlan;
