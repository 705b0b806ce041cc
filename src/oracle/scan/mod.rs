//! Oracles of the scan family.

mod linear_attention;
mod linear_scan;
mod recurrence;
mod ssd;

pub use linear_attention::{
    LinearAttentionGradient, LinearAttentionResult, LinearAttentionValues, linear_attention,
    linear_attention_backward,
};
pub use linear_scan::{LinearScanResult, linear_scan};
pub use ssd::{SsdGradient, SsdResult, SsdValues, ssd, ssd_backward};
