//! Oracles of the scan family.

mod conv1d;
mod linear_scan;
mod selective_scan;

pub use conv1d::{Conv1dDerivatives, Conv1dResult, Conv1dTensors, conv1d, conv1d_backward};
pub use linear_scan::{LinearScanResult, linear_scan};
pub use selective_scan::{
    SelectiveScanDerivatives, SelectiveScanResult, SelectiveScanTensors, selective_scan,
    selective_scan_backward,
};
