//! Operations of the scan family.

mod conv1d;
mod linear_scan;
mod selective_scan;
mod sum_terms;

pub use conv1d::{
    Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dStep, Conv1dStepInputs,
    SequenceIndices,
};
pub use conv1d::{
    backward_shaders as conv1d_backward_shaders, shaders as conv1d_shaders,
    step_shaders as conv1d_step_shaders,
};
pub use linear_scan::shaders as linear_scan_shaders;
pub use linear_scan::{LinearScan, LinearScanInputs, LinearScanOutputs};
pub use selective_scan::{
    CoefficientGradient, CoefficientTensor, SelectiveScan, SelectiveScanBackward, SelectiveScanGradients,
    SelectiveScanInputs, SelectiveScanOutputs, SelectiveScanStep,
};
pub use selective_scan::{
    backward_shaders as selective_scan_backward_shaders, shaders as selective_scan_shaders,
};
