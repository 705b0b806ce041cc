//! Specs of the scan family.

mod associative_scan;
mod conv1d;
mod delta_rule;
mod h3;
mod hyena;
mod linear_attention;
mod linear_scan;
mod long_conv;
mod mamba;
mod recurrence;
mod row_scan;
mod s4d;
mod selective_scan;
mod sequences;
mod ssd;

pub use associative_scan::{AssociativeOperator, AssociativeScanSpec};
pub use conv1d::Conv1dSpec;
pub use delta_rule::DeltaRuleSpec;
pub use h3::H3Spec;
pub use hyena::HyenaSpec;
pub use linear_attention::{Gate, LinearAttentionSpec};
pub use linear_scan::LinearScanSpec;
pub use long_conv::LongConvSpec;
pub use mamba::{Mamba2Spec, MambaSpec};
pub(crate) use recurrence::{Decay, Recurrence};
pub(crate) use row_scan::RowScan;
pub use row_scan::ScanOperator;
pub(crate) use s4d::Complex;
pub use s4d::{Discretization, S4dParameters, S4dSpec};
pub use selective_scan::{Coefficients, SelectiveScanSpec};
pub(crate) use sequences::Run;
pub use sequences::Sequences;
pub(crate) use ssd::LONGEST_CHUNK;
use ssd::check_chunk;
pub use ssd::{Skip, SsdSpec};
