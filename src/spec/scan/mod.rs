//! Specs of the scan family.

mod linear_scan;

pub use linear_scan::LinearScanSpec;
