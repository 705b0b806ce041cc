//! Yardsticks of the scan family.

mod attention;
mod conv1d;
mod delta_unfused;
mod linear_scan;
mod linear_scan_backward;
mod long_conv;
mod long_conv_backward;
mod long_conv_sequential;
mod recurrence;
mod recurrence_backward;
mod recurrence_unfused;
mod s4d;
mod ssd;
mod strided_sums;

pub use linear_scan::{
    ScanScratch, SequentialLinearScan, SequentialLinearScanPlan, UnfusedLinearScan, UnfusedLinearScanPlan,
};
pub use linear_scan::{sequential_shaders, shaders};
pub use linear_scan_backward::{
    SequentialLinearScanBackward, SequentialLinearScanBackwardPlan, UnfusedLinearScanBackward,
    UnfusedLinearScanBackwardPlan, backward_shaders, sequential_backward_shaders,
};
pub use long_conv::{
    DirectLongConv, DirectLongConvPlan, LongConvScratch, UnfusedLongConv, UnfusedLongConvPlan,
};
pub use long_conv::{direct_shaders as direct_long_conv_shaders, shaders as long_conv_shaders};
pub use long_conv_backward::{
    LongConvBackwardScratch, UnfusedLongConvBackward, UnfusedLongConvBackwardPlan,
    shaders as long_conv_backward_shaders,
};
pub use long_conv_sequential::{
    SequentialLongConv, SequentialLongConvBackward, SequentialLongConvBackwardPlan, SequentialLongConvPlan,
    backward_shaders as sequential_long_conv_backward_shaders, shaders as sequential_long_conv_shaders,
};

pub use attention::{SequentialAttention, SequentialAttentionPlan, shaders as sequential_attention_shaders};
pub use conv1d::{
    Conv1dBackwardScratch, PlainConv1dBackwardPlan, PlainConv1dPlan, SequentialConv1d,
    SequentialConv1dBackward, UnfusedConv1d, UnfusedConv1dBackward,
    backward_shaders as conv1d_backward_shaders, shaders as conv1d_shaders,
};
pub use delta_unfused::{UnfusedDeltaRule, UnfusedDeltaRulePlan, shaders as delta_rule_shaders};
pub use recurrence::{
    RecurrenceDecay, SequentialRecurrence, SequentialRecurrencePlan,
    sequential_shaders as sequential_recurrence_shaders,
};
pub use recurrence_backward::{
    PlainRecurrenceBackward, PlainRecurrenceBackwardPlan, PlainWay, RecurrenceScratch,
    shaders as recurrence_backward_shaders,
};
pub use recurrence_unfused::{
    UnfusedRecurrence, UnfusedRecurrencePlan, UnfusedRecurrenceScratch, shaders as recurrence_shaders,
};
pub use s4d::{SequentialS4d, SequentialS4dPlan, shaders as sequential_s4d_shaders};
pub use ssd::{SsdScratch, UnfusedSsd, UnfusedSsdPlan, shaders as ssd_shaders};
