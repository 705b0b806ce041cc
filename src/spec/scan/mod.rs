//! Specs of the scan family.

mod linear_attention;
mod linear_scan;
mod recurrence;
mod sequences;
mod ssd;

pub use linear_attention::{Gate, LinearAttentionSpec};
pub use linear_scan::LinearScanSpec;
pub(crate) use recurrence::{Decay, Recurrence};
pub(crate) use sequences::Run;
pub use sequences::Sequences;
pub(crate) use ssd::{LONGEST_CHUNK, check_chunk};
pub use ssd::{Skip, SsdSpec};
