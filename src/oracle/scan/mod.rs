//! Oracles of the scan family.

mod h3;
mod linear_scan;
mod long_conv;
mod s4d;

pub use h3::{H3Operands, H3Result, h3};
pub use linear_scan::{LinearScanResult, linear_scan};
pub use long_conv::{LongConv, LongConvGradients, LongConvOperands};
pub use s4d::s4d_kernel;
