//! Oracles of the scan family.

mod associative_scan;
mod conv1d;
mod delta_rule;
mod h3;
mod linear_attention;
mod linear_scan;
mod long_conv;
mod mamba;
mod number;
mod recurrence;
mod s4d;
mod selective_scan;
mod ssd;

pub use associative_scan::{
    AssociativeScanDerivatives, AssociativeScanResult, associative_scan, associative_scan_backward,
};
pub use conv1d::{Conv1dDerivatives, Conv1dResult, Conv1dTensors, conv1d, conv1d_backward};
pub use delta_rule::{DeltaRuleGradient, DeltaRuleResult, DeltaRuleValues, delta_rule, delta_rule_backward};
pub use h3::{H3Operands, H3Result, h3};
pub use linear_attention::{
    LinearAttentionGradient, LinearAttentionResult, LinearAttentionValues, linear_attention,
    linear_attention_backward,
};
pub use linear_scan::{LinearScanDerivatives, LinearScanResult, linear_scan, linear_scan_backward};
pub use long_conv::{LongConv, LongConvGradients, LongConvOperands};
pub use mamba::{mamba, mamba_backward, mamba2, mamba2_backward};
pub use s4d::s4d_kernel;
pub use selective_scan::{
    SelectiveScanDerivatives, SelectiveScanResult, SelectiveScanTensors, selective_scan,
    selective_scan_backward,
};
pub use ssd::{SsdGradient, SsdResult, SsdValues, ssd, ssd_backward};
