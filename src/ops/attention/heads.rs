//! What there is of each head: sinks, scales of keys and values, slopes.

use crate::ops::Scratch;
use crate::plan::AttentionStructure;
use crate::shader::Linker;
use crate::{Error, Gpu, Tensor};

/// The tensors, in the order in which the modules of [`heads`] bind them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads<'a> {
    pub sinks: Option<&'a Tensor<f32>>,
    pub scales: Option<&'a Tensor<f32>>,
    pub slopes: Option<&'a Tensor<f32>>,
}

/// What reads them: each by itself, or all in one.
pub(super) fn heads(linker: Linker, structure: &AttentionStructure) -> Linker {
    let AttentionStructure { sinks, alibi, together, .. } = *structure;
    let scaled = structure.scaled();
    if together {
        let linker = linker.module("attention/heads_together");
        return linker.set("SINKS", sinks).set("SCALED", scaled).set("ALIBI", alibi);
    }
    linker
        .module(if sinks { "attention/sinks_logits" } else { "attention/sinks_none" })
        .module(if scaled { "attention/kv_scales_heads" } else { "attention/kv_scales_none" })
        .module(if alibi { "attention/alibi_slopes" } else { "attention/alibi_none" })
}

impl Heads<'_> {
    /// The buffers to bind, after a copy into one if the structure asks for that.
    pub fn bound(
        self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        structure: &AttentionStructure,
        scratch: &Scratch,
    ) -> Result<Vec<wgpu::Buffer>, Error> {
        let tensors = [self.sinks, self.scales, self.slopes].into_iter().flatten();
        if !structure.together {
            return Ok(tensors.map(|tensor| tensor.buffer().clone()).collect());
        }
        let count = tensors.clone().map(Tensor::len).sum();
        let all = scratch.tensors(gpu, &[&[count]])?[0].buffer();
        let mut first = 0;
        for tensor in tensors {
            let bytes = 4 * tensor.len() as u64;
            encoder.copy_buffer_to_buffer(tensor.buffer(), 0, all, first, bytes);
            first += bytes;
        }
        Ok(vec![all.clone()])
    }
}
