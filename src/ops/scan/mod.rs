//! Operations of the scan family.

mod linear_scan;
mod long_conv;
mod long_conv_step;

pub use linear_scan::shaders as linear_scan_shaders;
pub use linear_scan::{LinearScan, LinearScanInputs, LinearScanOutputs};
pub use long_conv::{LongConv, LongConvBackward, LongConvGradients, LongConvInputs};
pub use long_conv::{backward_shaders as long_conv_backward_shaders, shaders as long_conv_shaders};
pub use long_conv_step::{LongConvStep, shaders as long_conv_step_shaders};
