//! Plans of the scan family.

mod chunked;
mod conv1d;
mod delta_rule;
mod keyed;
mod long_conv;
mod long_conv_step;
mod row_scan;
mod s4d;
mod selective_scan;
mod sum_terms;
mod token;

pub(crate) use chunked::TOKEN_ALIGNMENT;
pub(crate) use chunked::{ChunkKernel, Mixed, record_words};
pub use chunked::{ChunkedBackwardPlan, ChunkedPlan, Steps};
pub use conv1d::{Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan};
pub(crate) use delta_rule::{DeltaKernel, DeltaPair, DeltaProduct};
pub use delta_rule::{DeltaPass, DeltaRuleBackwardPlan, DeltaRulePlan};
pub use keyed::{KeyedBackwardPlan, KeyedPlan, LinearAttentionBackwardPlan, LinearAttentionPlan};
pub(crate) use keyed::{KeyedKernel, KeyedProduct};
pub use long_conv::{LongConvBackwardPlan, LongConvPlan};
pub(crate) use long_conv::{LongConvStage, Reads, Writes};
pub use long_conv_step::LongConvStepPlan;
pub(crate) use row_scan::RowWindow;
pub use row_scan::{RowScanBackwardPlan, RowScanPlan};
pub use s4d::S4dPlan;
pub use selective_scan::{SelectiveScanBackwardPlan, SelectiveScanPlan, SelectiveScanSlice};
pub use sum_terms::SumPlan;
pub(crate) use token::ROOM as TOKEN_ROOM;
pub use token::TokenPlan;
