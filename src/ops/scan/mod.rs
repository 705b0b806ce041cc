//! Operations of the scan family.

mod conv1d;
mod h3;
mod linear_scan;
mod long_conv;
mod long_conv_step;
mod s4d;
mod sum_terms;

pub use conv1d::{
    Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dStep, Conv1dStepInputs,
    SequenceIndices, backward_shaders as conv1d_backward_shaders, shaders as conv1d_shaders,
    step_shaders as conv1d_step_shaders,
};
pub use h3::{H3, H3Backward, H3Gradients, H3Inputs, H3States, H3Step};
pub use linear_scan::{LinearScan, LinearScanInputs, LinearScanOutputs, shaders as linear_scan_shaders};
pub use long_conv::{
    LongConv, LongConvBackward, LongConvGradients, LongConvInputs,
    backward_shaders as long_conv_backward_shaders, shaders as long_conv_shaders,
};
pub use long_conv_step::{LongConvStep, shaders as long_conv_step_shaders};
pub use s4d::{S4d, S4dBackward, S4dGradients, S4dInputs, S4dStep, shaders as s4d_shaders};
mod chunked;
mod ssd;
mod token;

pub use chunked::{backward_shaders as chunked_backward_shaders, shaders as chunked_shaders};
pub use ssd::{Ssd, SsdBackward, SsdGradients, SsdInputs, SsdOutputGradients, SsdOutputs, SsdStep};
pub use token::shaders as token_shaders;
