//! The unfused versions of every family: what the fused kernels are measured against.
//!
//! They compute the same specs on the same [`Gpu`](crate::Gpu) with the kernels that a framework would compose: a tiled matrix
//! product, a softmax, a transposing copy, element-wise passes, each reading and writing whole tensors. The kernels
//! are planned and written with care, since a slow yardstick measures nothing. Intermediate tensors are allocated
//! once as a scratch and reused, as a caching allocator would.
//!
//! Products use matrix units where there are any, as a library's would, whether the fused kernel beside them does or not.

mod attention;
mod butterfly;
mod contender;
mod matmul;
mod scan;
mod transpose;

pub use attention::{
    AttentionBackwardScratch, AttentionScratch, SoftmaxPlan, UnfusedAttention, UnfusedAttentionBackward,
    UnfusedAttentionBackwardPlan, UnfusedAttentionPlan,
};
pub use butterfly::{
    ButterflyScratch, Dense, MonarchScratch, UnfusedButterfly, UnfusedButterflyPlan, UnfusedMonarch,
    UnfusedMonarchPlan,
};
pub use matmul::{Matmul, MatmulPath, MatmulPlan, MatmulSpec, Operand};
pub use scan::{
    ScanScratch, SequentialLinearScan, SequentialLinearScanBackward, SequentialLinearScanBackwardPlan,
    SequentialLinearScanPlan, UnfusedLinearScan, UnfusedLinearScanBackward, UnfusedLinearScanBackwardPlan,
    UnfusedLinearScanPlan,
};
pub use transpose::TransposePlan;

pub use scan::{
    Conv1dBackwardScratch, PlainConv1dBackwardPlan, PlainConv1dPlan, PlainRecurrenceBackward,
    PlainRecurrenceBackwardPlan, PlainWay, RecurrenceDecay, RecurrenceScratch, SequentialAttention,
    SequentialAttentionPlan, SequentialConv1d, SequentialConv1dBackward, SequentialRecurrence,
    SequentialRecurrencePlan, SequentialS4d, SequentialS4dPlan, SsdScratch, UnfusedConv1d,
    UnfusedConv1dBackward, UnfusedDeltaRule, UnfusedDeltaRulePlan, UnfusedRecurrence, UnfusedRecurrencePlan,
    UnfusedRecurrenceScratch, UnfusedSsd, UnfusedSsdPlan,
};
pub use scan::{
    DirectLongConv, DirectLongConvPlan, LongConvBackwardScratch, LongConvScratch, SequentialLongConv,
    SequentialLongConvBackward, SequentialLongConvBackwardPlan, SequentialLongConvPlan, UnfusedLongConv,
    UnfusedLongConvBackward, UnfusedLongConvBackwardPlan, UnfusedLongConvPlan,
};

pub(crate) use contender::{Baseline, Parts};

use crate::shader::{Files, Linker, files};

/// The shader files of this module alone.
pub const FILES: Files = files![
    "baseline/attention_sequential",
    "baseline/butterfly_factor",
    "baseline/conv1d_activate",
    "baseline/conv1d_backward_sequential",
    "baseline/conv1d_inputs",
    "baseline/conv1d_sequential",
    "baseline/conv1d_slope",
    "baseline/conv1d_tap",
    "baseline/conv1d_tap_back",
    "baseline/conv1d_totals",
    "baseline/conv_direct",
    "baseline/conv_gate",
    "baseline/conv_pad",
    "baseline/conv_product",
    "baseline/conv_sequential",
    "baseline/conv_sequential_taps",
    "baseline/conv_sum",
    "baseline/delta_gradients",
    "baseline/delta_put",
    "baseline/delta_read",
    "baseline/delta_states",
    "baseline/delta_steps",
    "baseline/delta_take",
    "baseline/fft_pass",
    "baseline/matmul",
    "baseline/matmul_halves",
    "baseline/matmul_operands",
    "baseline/recurrence",
    "baseline/recurrence_apply",
    "baseline/recurrence_decays",
    "baseline/recurrence_gates",
    "baseline/recurrence_gradients",
    "baseline/recurrence_pairs",
    "baseline/recurrence_pairs_back",
    "baseline/recurrence_products",
    "baseline/recurrence_results",
    "baseline/recurrence_sequential",
    "baseline/recurrence_states",
    "baseline/recurrence_steps",
    "baseline/recurrence_totals",
    "baseline/recurrence_work",
    "baseline/s4d_sequential",
    "baseline/scan_apply",
    "baseline/scan_backward_apply",
    "baseline/scan_backward_pairs",
    "baseline/scan_backward_sequential",
    "baseline/scan_before",
    "baseline/scan_double",
    "baseline/scan_pairs",
    "baseline/scan_sequential",
    "baseline/softmax",
    "baseline/softmax_backward",
    "baseline/ssd_expand",
    "baseline/ssd_finish",
    "baseline/ssd_mask",
    "baseline/ssd_params",
    "baseline/ssd_pass",
    "baseline/ssd_steps",
    "baseline/ssd_weigh",
    "baseline/strided_sums",
    "baseline/transpose",
];

/// Links a kernel of [`FILES`], whose modules may be those of operations too.
fn yardstick(kernel: &'static str) -> Linker {
    Linker::among(FILES, kernel)
}

/// The linked shaders of a plan, in the order of its footprints, with no GPU at hand.
pub mod shaders {
    pub use super::attention::backward_shaders as attention_backward;
    pub use super::attention::shaders as attention;
    pub use super::butterfly::butterfly_shaders as butterfly;
    pub use super::butterfly::shaders as monarch;
    pub use super::matmul::shaders as matmul;
    pub use super::scan::backward_shaders as linear_scan_backward;
    pub use super::scan::conv1d_backward_shaders as conv1d_backward;
    pub use super::scan::conv1d_shaders as conv1d;
    pub use super::scan::delta_rule_shaders as delta_rule;
    pub use super::scan::direct_long_conv_shaders as direct_long_conv;
    pub use super::scan::long_conv_backward_shaders as long_conv_backward;
    pub use super::scan::long_conv_shaders as long_conv;
    pub use super::scan::recurrence_backward_shaders as recurrence_backward;
    pub use super::scan::recurrence_shaders as recurrence;
    pub use super::scan::sequential_attention_shaders as sequential_attention;
    pub use super::scan::sequential_backward_shaders as sequential_linear_scan_backward;
    pub use super::scan::sequential_long_conv_backward_shaders as sequential_long_conv_backward;
    pub use super::scan::sequential_long_conv_shaders as sequential_long_conv;
    pub use super::scan::sequential_recurrence_shaders as sequential_recurrence;
    pub use super::scan::sequential_s4d_shaders as sequential_s4d;
    pub use super::scan::sequential_shaders as sequential_linear_scan;
    pub use super::scan::shaders as linear_scan;
    pub use super::scan::ssd_shaders as ssd;
}
