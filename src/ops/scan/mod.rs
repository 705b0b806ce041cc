//! Operations of the scan family.

mod linear_scan;

pub use linear_scan::shaders as linear_scan_shaders;
pub use linear_scan::{LinearScan, LinearScanInputs, LinearScanOutputs};
