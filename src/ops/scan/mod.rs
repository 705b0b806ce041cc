//! Operations of the scan family.

mod associative_scan;
mod chunked;
mod chunked_windows;
mod conv1d;
mod delta_rule;
mod h3;
mod hyena;
mod keyed;
mod linear_attention;
mod linear_scan;
mod long_conv;
mod long_conv_step;
mod mamba;
mod mamba2;
mod row_scan;
mod s4d;
mod selective_scan;
mod ssd;
mod sum_terms;
mod token;

pub use associative_scan::{
    AssociativeScan, AssociativeScanBackward, AssociativeScanBackwardInputs, AssociativeScanGradients,
    AssociativeScanInputs, AssociativeScanOutputs,
};
pub use chunked::{backward_shaders as chunked_backward_shaders, shaders as chunked_shaders};
pub use conv1d::{
    Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dStep, Conv1dStepInputs,
    SequenceIndices, backward_shaders as conv1d_backward_shaders, shaders as conv1d_shaders,
    step_shaders as conv1d_step_shaders,
};
pub use delta_rule::{
    DeltaRule, DeltaRuleBackward, DeltaRuleGradients, DeltaRuleInputs, DeltaRuleStep,
    backward_shaders as delta_rule_backward_shaders, shaders as delta_rule_shaders,
};
pub use h3::{H3, H3Backward, H3Gradients, H3Inputs, H3States, H3Step};
pub use hyena::{Hyena, HyenaBackward, HyenaGradients, HyenaInputs, HyenaStates, HyenaStep, Projection};
pub use linear_attention::{
    LinearAttention, LinearAttentionBackward, LinearAttentionGradients, LinearAttentionInputs,
    LinearAttentionOutputGradients, LinearAttentionOutputs, LinearAttentionStep,
    backward_shaders as linear_attention_backward_shaders, shaders as linear_attention_shaders,
};
pub use linear_scan::{
    LinearScan, LinearScanBackward, LinearScanBackwardInputs, LinearScanGradients, LinearScanInputs,
    LinearScanOutputs,
};
pub use long_conv::{
    LongConv, LongConvBackward, LongConvGradients, LongConvInputs,
    backward_shaders as long_conv_backward_shaders, shaders as long_conv_shaders,
};
pub use long_conv_step::{LongConvStep, shaders as long_conv_step_shaders};
pub use mamba::{Mamba, MambaBackward, MambaGradients, MambaInputs, MambaOutputs, MambaStates, MambaStep};
pub use mamba2::{Mamba2, Mamba2Backward, Mamba2Gradients, Mamba2Inputs, Mamba2Step};
pub use row_scan::{backward_shaders as row_scan_backward_shaders, shaders as row_scan_shaders};
pub use s4d::{S4d, S4dBackward, S4dGradients, S4dInputs, S4dStep, shaders as s4d_shaders};
pub use selective_scan::{
    CoefficientGradient, CoefficientTensor, SelectiveScan, SelectiveScanBackward, SelectiveScanGradients,
    SelectiveScanInputs, SelectiveScanOutputs, SelectiveScanStep,
    backward_shaders as selective_scan_backward_shaders, shaders as selective_scan_shaders,
};
pub use ssd::{Ssd, SsdBackward, SsdGradients, SsdInputs, SsdOutputGradients, SsdOutputs, SsdStep};
pub use token::shaders as token_shaders;

use crate::kernel::Kernel;

/// The kernel of a plan that does this.
fn kernel_of<'a, K: PartialEq>(kernels: &'a [(K, Kernel)], wanted: &K) -> &'a Kernel {
    let found = kernels.iter().find(|(kernel, _)| kernel == wanted);
    &found.expect("a plan lists every kernel that its operation runs").1
}
