//! Plans made real: compiled kernels that encode themselves into a command buffer.
//!
//! `encode` is the primitive: it records into the caller's encoder, so that many operations share a submission.
//! `run` allocates the outputs, encodes and submits. Neither waits; reading a tensor does.

mod attention;
mod butterfly;
mod scan;

pub use attention::{Attention, AttentionInputs, AttentionOutputs};
pub use butterfly::{Monarch, MonarchInputs};
pub use scan::{LinearScan, LinearScanInputs, LinearScanOutputs};

use crate::kernel::Kernel;
use crate::shader::Shader;
use crate::{Error, Gpu};

/// The linked shaders of a plan, in the order of its footprints, with no GPU at hand.
pub mod shaders {
    pub use super::attention::shaders as attention;
    pub use super::butterfly::shaders as monarch;
    pub use super::scan::shaders as linear_scan;
}

fn compile(gpu: &Gpu, shaders: &[Shader]) -> Result<Vec<Kernel>, Error> {
    shaders.iter().map(|shader| gpu.kernel(shader)).collect()
}
