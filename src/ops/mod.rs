//! Plans made real: compiled kernels that encode themselves into a command buffer.
//!
//! `encode` is the primitive: it records into the caller's encoder, so that many operations share a submission.
//! `run` allocates the outputs, encodes and submits. Neither waits; reading a tensor does.

mod attention;
mod butterfly;
pub(crate) mod matrix_product;
mod scan;
mod slice_sum;

pub use attention::{
    Append, AppendInputs, Attention, AttentionBackward, AttentionGradients, AttentionInputs,
    AttentionOutputs, AttentionProbabilities, CacheIndex, CachedAttention, CachedAttentionInputs, KvCache,
    Merge, RotaryTables, Rotate, Table, quantise,
};
pub use butterfly::{
    BlockSoftmax, BlockSparse, Butterfly, ButterflyBackward, ButterflyGradients, ButterflyInputs,
    ButterflyLinear, ButterflyLinearGradients, ButterflyLinearInputs, Monarch, MonarchBackward,
    MonarchGradients, MonarchInputs, MonarchLinear, MonarchLinearGradients, PixelflyBackward,
    PixelflyGradients, PixelflyInputs, PixelflyLinear,
};
pub use scan::{
    AssociativeScan, AssociativeScanBackward, AssociativeScanBackwardInputs, AssociativeScanGradients,
    AssociativeScanInputs, AssociativeScanOutputs, CoefficientGradient, CoefficientTensor, Conv1d,
    Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dStep, Conv1dStepInputs, DeltaRule,
    DeltaRuleBackward, DeltaRuleGradients, DeltaRuleInputs, DeltaRuleStep, H3, H3Backward, H3Gradients,
    H3Inputs, H3States, H3Step, Hyena, HyenaBackward, HyenaGradients, HyenaInputs, HyenaStates, HyenaStep,
    LinearAttention, LinearAttentionBackward, LinearAttentionGradients, LinearAttentionInputs,
    LinearAttentionOutputGradients, LinearAttentionOutputs, LinearAttentionStep, LinearScan,
    LinearScanBackward, LinearScanBackwardInputs, LinearScanGradients, LinearScanInputs, LinearScanOutputs,
    LongConv, LongConvBackward, LongConvGradients, LongConvInputs, LongConvStep, Mamba, Mamba2,
    Mamba2Backward, Mamba2Gradients, Mamba2Inputs, Mamba2Step, MambaBackward, MambaGradients, MambaInputs,
    MambaOutputs, MambaStates, MambaStep, Projection, S4d, S4dBackward, S4dGradients, S4dInputs, S4dStep,
    SelectiveScan, SelectiveScanBackward, SelectiveScanGradients, SelectiveScanInputs, SelectiveScanOutputs,
    SelectiveScanStep, SequenceIndices, Ssd, SsdBackward, SsdGradients, SsdInputs, SsdOutputGradients,
    SsdOutputs, SsdStep,
};

use std::sync::{Arc, OnceLock};

use crate::{Error, Gpu, Tensor};

/// The linked shaders of a plan, in the order of its footprints, with no GPU at hand.
pub mod shaders {
    pub use super::attention::{
        append_shaders as append, backward_shaders as attention_backward,
        backward_shaders_with_mods as attention_backward_with_mods, merge_shaders as merge,
        probabilities_shaders as attention_probabilities,
        probabilities_shaders_with_mods as attention_probabilities_with_mods, rotate_shaders as rotate,
        shaders as attention, shaders_with_mods as attention_with_mods,
    };
    pub use super::butterfly::{
        block_softmax_shaders as block_softmax, block_sparse_shaders as block_sparse,
        butterfly_backward_shaders as butterfly_backward, butterfly_linear_shaders as butterfly_linear,
        butterfly_shaders as butterfly, monarch_backward_shaders as monarch_backward,
        monarch_linear_shaders as monarch_linear, monarch_shaders as monarch,
        pixelfly_backward_shaders as pixelfly_backward, pixelfly_shaders as pixelfly,
    };
    pub use super::scan::{
        chunked_backward_shaders as chunked_backward, chunked_shaders as chunked,
        conv1d_backward_shaders as conv1d_backward, conv1d_shaders as conv1d,
        conv1d_step_shaders as conv1d_step, delta_rule_backward_shaders as delta_rule_backward,
        delta_rule_shaders as delta_rule, linear_attention_backward_shaders as linear_attention_backward,
        linear_attention_shaders as linear_attention, long_conv_backward_shaders as long_conv_backward,
        long_conv_shaders as long_conv, long_conv_step_shaders as long_conv_step,
        row_scan_backward_shaders as row_scan_backward, row_scan_shaders as row_scan, s4d_shaders as s4d,
        selective_scan_backward_shaders as selective_scan_backward, selective_scan_shaders as selective_scan,
        token_shaders as token,
    };
}

/// Tensors between the kernels of an op: allocated when it is first encoded, and kept for the next time, since wgpu clears
/// every fresh buffer. One copy is enough: a queue runs what was recorded one after the other, and every encoding writes
/// them before it reads them.
#[derive(Clone, Debug, Default)]
struct Scratch {
    tensors: Arc<OnceLock<Vec<Tensor<f32>>>>,
}

impl Scratch {
    /// One tensor for each shape. The shapes are those of the op's spec and plan, the same at each call.
    fn tensors(&self, gpu: &Gpu, shapes: &[&[usize]]) -> Result<&[Tensor<f32>], Error> {
        if let Some(tensors) = self.tensors.get() {
            return Ok(tensors);
        }
        let tensors = shapes.iter().map(|shape| Tensor::zeros(gpu, shape)).collect::<Result<_, _>>()?;
        Ok(self.tensors.get_or_init(|| tensors))
    }
}
