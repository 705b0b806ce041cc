//! Plans made real: compiled kernels that encode themselves into a command buffer.
//!
//! `encode` is the primitive: it records into the caller's encoder, so that many operations share a submission.
//! `run` allocates the outputs, encodes and submits. Neither waits; reading a tensor does.

mod attention;
mod butterfly;
mod scan;

pub use attention::{Attention, AttentionInputs, AttentionOutputs};
pub use butterfly::{Butterfly, ButterflyBackward, ButterflyGradients, ButterflyInputs};
pub use butterfly::{ButterflyLinear, ButterflyLinearGradients, ButterflyLinearInputs};
pub use butterfly::{Monarch, MonarchInputs};
pub use scan::{LinearScan, LinearScanInputs, LinearScanOutputs};

use std::sync::{Arc, OnceLock};

use crate::{Error, Gpu, Tensor};

/// The linked shaders of a plan, in the order of its footprints, with no GPU at hand.
pub mod shaders {
    pub use super::attention::shaders as attention;
    pub use super::butterfly::butterfly_backward_shaders as butterfly_backward;
    pub use super::butterfly::butterfly_linear_shaders as butterfly_linear;
    pub use super::butterfly::butterfly_shaders as butterfly;
    pub use super::butterfly::monarch_shaders as monarch;
    pub use super::scan::linear_scan_shaders as linear_scan;
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
