//! Yardsticks of the scan family.

mod linear_scan;

pub use linear_scan::{
    ScanScratch, SequentialLinearScan, SequentialLinearScanPlan, UnfusedLinearScan, UnfusedLinearScanPlan,
};
pub use linear_scan::{sequential_shaders, shaders};
