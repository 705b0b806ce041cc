//! Specs of the scan family.

mod conv1d;
mod linear_scan;
mod long_conv;

pub use conv1d::Conv1dSpec;
pub use linear_scan::LinearScanSpec;
pub use long_conv::LongConvSpec;
mod linear_attention;
mod recurrence;
mod sequences;
mod ssd;

pub use linear_attention::{Gate, LinearAttentionSpec};
pub(crate) use recurrence::{Decay, Recurrence};
pub(crate) use sequences::Run;
pub use sequences::Sequences;
pub(crate) use ssd::{LONGEST_CHUNK, check_chunk};
pub use ssd::{Skip, SsdSpec};
