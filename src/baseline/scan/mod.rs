//! Yardsticks of the scan family.

mod attention;
mod conv1d;
mod linear_scan;
mod linear_scan_backward;
mod long_conv;
mod long_conv_backward;
mod long_conv_sequential;
mod recurrence;
mod recurrence_backward;
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
    PlainConv1dPlan, SequentialConv1d, SequentialConv1dBackward, SequentialConv1dBackwardPlan, UnfusedConv1d,
    backward_shaders as sequential_conv1d_backward_shaders, shaders as conv1d_shaders,
};
pub use recurrence::{
    SelectiveScanScratch, SequentialRecurrence, SequentialRecurrencePlan, UnfusedSelectiveScan,
    UnfusedSelectiveScanPlan, sequential_shaders as sequential_recurrence_shaders,
    shaders as selective_scan_shaders,
};
pub use recurrence_backward::{
    RecurrenceScratch, SequentialRecurrenceBackward, SequentialRecurrenceBackwardPlan,
    shaders as sequential_recurrence_backward_shaders,
};
pub use ssd::{SsdScratch, UnfusedSsd, UnfusedSsdPlan, shaders as ssd_shaders};
