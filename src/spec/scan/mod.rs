//! Specs of the scan family.

mod h3;
mod linear_scan;
mod long_conv;
mod s4d;

pub use h3::H3Spec;
pub use linear_scan::LinearScanSpec;
pub use long_conv::LongConvSpec;
pub(crate) use s4d::Complex;
pub use s4d::{Discretization, S4dParameters, S4dSpec};
