//! Specs of the scan family.

mod conv1d;
mod linear_scan;
mod selective_scan;

pub use conv1d::Conv1dSpec;
pub use linear_scan::LinearScanSpec;
pub use selective_scan::{Coefficients, SelectiveScanSpec};
