//! Specs of the scan family.

mod linear_scan;
mod long_conv;

pub use linear_scan::LinearScanSpec;
pub use long_conv::LongConvSpec;
