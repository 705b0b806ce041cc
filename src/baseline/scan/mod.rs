//! Yardsticks of the scan family.

mod linear_scan;
mod long_conv;

pub use linear_scan::{
    ScanScratch, SequentialLinearScan, SequentialLinearScanPlan, UnfusedLinearScan, UnfusedLinearScanPlan,
};
pub use linear_scan::{sequential_shaders, shaders};
pub use long_conv::{
    DirectLongConv, DirectLongConvPlan, LongConvScratch, UnfusedLongConv, UnfusedLongConvPlan,
};
pub use long_conv::{direct_shaders as direct_long_conv_shaders, shaders as long_conv_shaders};
