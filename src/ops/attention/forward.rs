//! Attention, forward.

use super::link::{bound, structured, tiled};
use super::mods::{ModsOp, check_mods, modded, visit_shaders, visiting};
use super::params::TaskParams;
use super::{AttentionInputs, AttentionOutputs};
use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{AttentionPlan, Plan as _};
use crate::shader::{Linker, Shader, ShaderError};
use crate::{AttentionSpec, Element, Error, Gpu, Mods, Tensor};

params! {
    /// `attention/combine`.
    CombineParams { splits: u32, rows: u32, q_len: u32, heads: u32, unseen: f32 }
}

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
    mods: ModsOp,
    scratch: Scratch,
}

/// The linked shaders of a plan without mods, in the order of its footprints.
pub fn shaders(plan: &AttentionPlan) -> Result<Vec<Shader>, ShaderError> {
    shaders_with_mods(plan, &Mods::default())
}

/// The linked shaders of a plan with mods, in the order of its footprints.
pub fn shaders_with_mods(plan: &AttentionPlan, mods: &Mods) -> Result<Vec<Shader>, ShaderError> {
    let mut shaders = match &plan.visits {
        Some(table) => visit_shaders(&plan.structure.mods, mods, table)?,
        None => vec![],
    };
    for footprint in &plan.footprints()[shaders.len()..] {
        shaders.push(shader(plan, mods, footprint.kernel)?);
    }
    Ok(shaders)
}

fn shader(plan: &AttentionPlan, mods: &Mods, kernel: &'static str) -> Result<Shader, ShaderError> {
    let structure = &plan.structure;
    if kernel == "attention/combine" {
        let linker =
            Linker::new(kernel).set("VALUE_DIM", structure.value_dim).set("LANES", plan.combine_lanes());
        return linker.tensor("parts", plan.parts).tensor("o", structure.value_storage).link();
    }
    let linker = structured(tiled(kernel, &plan.tile), structure).module("attention/rows_plain");
    let linker = visiting(linker, &structure.mods, "attention/visit_all");
    let linker = modded(linker, &structure.mods, mods, plan.tile_sizes(), false)?
        .copy("attention/load_rows", &[("tensor", "q"), ("WIDTH", "HEAD_DIM")])
        .copy("attention/load_keys", &[("tensor", "k"), ("WIDTH", "HEAD_DIM")])
        .copy("attention/load_keys", &[("tensor", "v"), ("WIDTH", "VALUE_DIM")])
        .copy("attention/dots", &[("tensor", "q"), ("other", "k"), ("WIDTH", "HEAD_DIM")])
        .copy("attention/sums", &[("tensor", "v"), ("TENSOR", "V"), ("WIDTH", "VALUE_DIM")]);
    linker
        .tensor("q", structure.key_storage)
        .tensor("k", structure.key_storage)
        .tensor("v", structure.value_storage)
        .tensor("o", if plan.splits == 1 { structure.value_storage } else { plan.parts })
        .link()
}

impl Attention {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: AttentionSpec) -> Result<Self, Error> {
        Self::with_mods(gpu, spec, &Mods::default())
    }

    /// Attention with changes of scores and masks of the user's own. Fails also if a mod is wrong, with the shader
    /// compiler's words and the line of the mod's own text.
    pub fn with_mods(gpu: &Gpu, spec: AttentionSpec, mods: &Mods) -> Result<Self, Error> {
        let plan = AttentionPlan::with_mods(&spec, mods, gpu.caps())?;
        check_mods(gpu, mods)?;
        let mut found = compile(gpu, &shaders_with_mods(&plan, mods)?)?;
        let first = found.len() - if plan.splits == 1 { 1 } else { 2 };
        let kernels = found.split_off(first);
        let structure = (plan.structure.mods, mods);
        let params = forward_params(&spec, &plan);
        let mods = ModsOp::new(gpu, &spec, structure, plan.visits, params, &found)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, mods, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &AttentionPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<AttentionOutputs<T>, Error> {
        Ok(AttentionOutputs {
            o: Tensor::zeros(&self.gpu, &self.spec.o_shape())?,
            lse: Tensor::zeros(&self.gpu, &self.spec.lse_shape())?,
        })
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
        let Self { gpu, spec, plan, kernels, mods, scratch } = self;
        mods.check(gpu, &inputs)?;
        let call = mods.encode(gpu, encoder, &inputs)?;
        let modded = call.bound(plan.tile_sizes())?;
        let forward = |encoder: &mut _, kernel: &Kernel, unseen, o, lse| {
            let own = [inputs.q.buffer(), inputs.k.buffer(), inputs.v.buffer(), o, lse];
            let options = bound(&inputs).into_iter().chain(&modded);
            let buffers: Vec<_> = own.into_iter().chain(options).collect();
            let params = TaskParams { unseen, ..forward_params(spec, plan) };
            kernel.dispatch(gpu, encoder, &params, &buffers)
        };
        match kernels.as_slice() {
            [whole] => forward(encoder, whole, f32::NEG_INFINITY, outputs.o.buffer(), outputs.lse.buffer()),
            [split, combine] => {
                let splits = plan.splits as usize;
                let o_parts = [&[splits], spec.o_shape().as_slice()].concat();
                let lse_parts = [&[splits], spec.lse_shape().as_slice()].concat();
                let parts = scratch.tensors(gpu, &[&o_parts, &lse_parts])?;
                let [o_parts, lse_parts] = [parts[0].buffer(), parts[1].buffer()];
                forward(encoder, split, UNSEEN, o_parts, lse_parts)?;
                let buffers = [o_parts, lse_parts, outputs.o.buffer(), outputs.lse.buffer()];
                combine.dispatch(gpu, encoder, &self.combine_params(), &buffers)
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

    fn combine_params(&self) -> CombineParams {
        let Self { spec, plan, .. } = self;
        let rows = spec.lse_shape().iter().product::<usize>() as u32;
        let fours = spec.value_dim.div_ceil(4) as u32;
        CombineParams {
            groups: (rows * fours).div_ceil(plan.combine_lanes()),
            splits: plan.splits,
            rows,
            q_len: spec.q_len as u32,
            heads: spec.heads as u32,
            unseen: f32::NEG_INFINITY,
        }
    }
}

fn forward_params(spec: &AttentionSpec, plan: &AttentionPlan) -> TaskParams {
    TaskParams::new(spec, (spec.q_len, spec.heads), plan.tile.rows(), plan.splits)
}
