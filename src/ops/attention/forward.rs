//! Attention, forward.

use super::link::{bound, structured, tiled};
use super::merge::{combine_params, merge_shaders};
use super::params::TaskParams;
use super::{AttentionInputs, AttentionOutputs};
use crate::kernel::{Kernel, compile};
use crate::ops::Scratch;
use crate::plan::AttentionPlan;
use crate::shader::{Shader, ShaderError, Words};
use crate::{AttentionSpec, Element, Error, Gpu, MergeSpec};

/// What stands for the log-sum-exp of nothing between forward and combine, as in `attention/combine.wgsl`.
const UNSEEN: f32 = -3e38;

/// Scaled dot-product attention that never stores its scores (FlashAttention-2, Dao 2023), with the online softmax of
/// Milakov and Gimelshein (2018). Where few queries meet many keys, the keys are split among workgroups
/// (Flash-Decoding, Dao et al. 2023).
#[derive(Clone, Debug)]
pub struct Attention {
    gpu: Gpu,
    spec: AttentionSpec,
    plan: AttentionPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &AttentionPlan) -> Result<Vec<Shader>, ShaderError> {
    let combine = plan.merge.as_ref().map(merge_shaders).transpose()?.unwrap_or_default();
    Ok([vec![forward_shader(plan)?], combine].concat())
}

fn forward_shader(plan: &AttentionPlan) -> Result<Shader, ShaderError> {
    let structure = &plan.structure;
    let linker = structured(tiled("attention/forward", &plan.tile), structure)
        .module(if plan.grouped { "attention/rows_grouped" } else { "attention/rows_plain" })
        .module("attention/visit_all")
        .copy("attention/load_rows", &[("tensor", "q"), ("WIDTH", "HEAD_DIM")])
        .copy("attention/load_keys", &[("tensor", "k"), ("WIDTH", "HEAD_DIM")])
        .copy("attention/load_keys", &[("tensor", "v"), ("WIDTH", "VALUE_DIM")]);
    let sums: Words = &[("tensor", "v"), ("TENSOR", "V"), ("WIDTH", "VALUE_DIM")];
    let linker = if plan.tile.is_direct() {
        linker
            .copy("attention/dots_direct", &[("tensor", "q"), ("other", "k")])
            .copy("attention/sums_direct", sums)
            .module("attention/gather_direct")
    } else {
        linker
            .copy("attention/dots", &[("tensor", "q"), ("other", "k"), ("WIDTH", "HEAD_DIM")])
            .copy("attention/sums", sums)
            .module("attention/gather_staged")
    };
    linker
        .tensor("q", structure.key_storage)
        .tensor("k", structure.key_storage)
        .tensor("v", structure.value_storage)
        .tensor("o", plan.merge.map_or(structure.value_storage, |merge| merge.part_storage))
        .link()
}

impl Attention {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        let plan = AttentionPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AttentionPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<AttentionOutputs<T>, Error> {
        AttentionOutputs::zeros(&self.gpu, &self.spec.o_shape(), &self.spec.lse_shape())
    }

    /// Records the attention into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: AttentionInputs<'_, T>,
        outputs: &AttentionOutputs<T>,
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, &self.spec)?;
        outputs.check(&self.gpu, &self.spec)?;
        let Self { gpu, spec, plan, kernels, scratch } = self;
        let forward = |encoder: &mut _, kernel: &Kernel, unseen, o, lse| {
            let own = [inputs.q.buffer(), inputs.k.buffer(), inputs.v.buffer(), o, lse];
            let buffers = [own.as_slice(), &bound(&inputs)].concat();
            kernel.dispatch(gpu, encoder, &self.forward_params(unseen), &buffers)
        };
        match (kernels.as_slice(), &plan.merge) {
            ([whole], None) => {
                forward(encoder, whole, f32::NEG_INFINITY, outputs.o.buffer(), outputs.lse.buffer())
            }
            ([split, combine], Some(merge)) => {
                let splits = plan.splits as usize;
                let o_parts = [&[splits], spec.o_shape().as_slice()].concat();
                let lse_parts = [&[splits], spec.lse_shape().as_slice()].concat();
                let parts = scratch.tensors(gpu, &[&o_parts, &lse_parts])?;
                let [o_parts, lse_parts] = [parts[0].buffer(), parts[1].buffer()];
                forward(encoder, split, UNSEEN, o_parts, lse_parts)?;
                let buffers = [outputs.o.buffer(), outputs.lse.buffer(), o_parts, lse_parts];
                let params = combine_params(merge, &MergeSpec::of(spec), plan.splits);
                combine.dispatch(gpu, encoder, &params, &buffers)
            }
            _ => unreachable!("attention has one kernel, or two where keys are split"),
        }
    }

    /// Allocates the outputs, records the attention and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: AttentionInputs<'_, T>) -> Result<AttentionOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }

    fn forward_params(&self, unseen: f32) -> TaskParams {
        let Self { spec, plan, .. } = self;
        let params = TaskParams::new(spec, plan.rows(spec), plan.tile.rows(), plan.splits);
        TaskParams { unseen, ..params }
    }
}
