//! Specs of the scan family.

mod conv1d;
mod linear_scan;
mod long_conv;

pub use conv1d::Conv1dSpec;
pub use linear_scan::LinearScanSpec;
pub use long_conv::LongConvSpec;
