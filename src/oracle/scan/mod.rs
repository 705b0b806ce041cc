//! Oracles of the scan family.

mod linear_scan;
mod long_conv;
mod s4d;

pub use linear_scan::{LinearScanResult, linear_scan};
pub use long_conv::{LongConv, LongConvGradients, LongConvOperands};
pub use s4d::s4d_kernel;
