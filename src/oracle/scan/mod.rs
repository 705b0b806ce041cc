//! Oracles of the scan family.

mod linear_scan;
mod long_conv;

pub use linear_scan::{LinearScanResult, linear_scan};
pub use long_conv::{LongConv, LongConvGradients, LongConvOperands};
