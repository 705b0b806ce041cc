//! Specs of the scan family.

mod linear_scan;
mod sequences;
mod ssd;

pub use linear_scan::LinearScanSpec;
pub use sequences::Sequences;
pub(crate) use sequences::Run;
pub(crate) use ssd::{LONGEST_CHUNK, check_chunk};
pub use ssd::{Skip, SsdSpec};
