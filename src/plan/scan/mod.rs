//! Plans of the scan family.

mod conv1d;
mod linear_scan;
mod selective_scan;
mod sum_terms;

pub use conv1d::{Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan};
pub use linear_scan::LinearScanPlan;
pub use selective_scan::{SelectiveScanBackwardPlan, SelectiveScanPlan};
pub use sum_terms::SumPlan;
