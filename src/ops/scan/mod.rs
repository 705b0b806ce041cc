//! Operations of the scan family.

mod chunked;
mod linear_attention;
mod linear_scan;
mod ssd;
mod token;

pub use chunked::{backward_shaders as chunked_backward_shaders, shaders as chunked_shaders};
pub use linear_attention::{
    LinearAttention, LinearAttentionBackward, LinearAttentionGradients, LinearAttentionInputs,
    LinearAttentionOutputGradients, LinearAttentionOutputs, LinearAttentionStep,
};
pub use linear_scan::shaders as linear_scan_shaders;
pub use linear_scan::{LinearScan, LinearScanInputs, LinearScanOutputs};
pub use ssd::{Ssd, SsdBackward, SsdGradients, SsdInputs, SsdOutputGradients, SsdOutputs, SsdStep};
pub use token::shaders as token_shaders;
