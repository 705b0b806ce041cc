//! Operations of the scan family.

mod h3;
mod linear_scan;
mod long_conv;
mod long_conv_step;
mod s4d;

pub use h3::{H3, H3Backward, H3Gradients, H3Inputs, H3States, H3Step};
pub use linear_scan::shaders as linear_scan_shaders;
pub use linear_scan::{LinearScan, LinearScanInputs, LinearScanOutputs};
pub use long_conv::{LongConv, LongConvBackward, LongConvGradients, LongConvInputs};
pub use long_conv::{backward_shaders as long_conv_backward_shaders, shaders as long_conv_shaders};
pub use long_conv_step::{LongConvStep, shaders as long_conv_step_shaders};
pub use s4d::{S4d, S4dBackward, S4dGradients, S4dInputs, S4dStep, shaders as s4d_shaders};
