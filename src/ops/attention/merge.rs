//! Merges.

use crate::kernel::{Kernel, compile_array, params};
use crate::ops::AttentionOutputs;
use crate::plan::{Exchange, MergePlan, Parts};
use crate::shader::{Linker, Shader, ShaderError};
use crate::{DType, Element, Error, Gpu, MergeSpec};

params! {
    /// `attention/combine`.
    CombineParams { parts: u32, rows: u32, q_len: u32, heads: u32, unseen: f32 }
}

/// The linked shader of a plan.
pub fn merge_shaders(plan: &MergePlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = Linker::new("attention/combine")
        .set("VALUE_DIM", plan.value_dim)
        .set("LANES", plan.lanes())
        .set("PART_LANES", plan.part_lanes)
        .tensor("o", plan.storage);
    let linker = match plan.exchange {
        Exchange::Workgroup => linker.module("common/lane_workgroup").module("common/reduce_workgroup"),
        Exchange::Subgroup => linker.module("common/lane_subgroup").module("common/reduce_subgroup"),
    };
    let linker = match plan.parts {
        Parts::Stacked => linker.module("attention/parts_stacked").tensor("parts", plan.part_storage),
        Parts::Pair => linker
            .module("attention/parts_pair")
            .tensor("o_a", plan.part_storage)
            .tensor("o_b", plan.part_storage),
    };
    Ok(vec![linker.link()?])
}

/// What the kernel is told: shapes are those of the parts.
pub(super) fn combine_params(plan: &MergePlan, spec: &MergeSpec, parts: u32) -> CombineParams {
    let rows = spec.lse_shape().iter().product();
    CombineParams {
        groups: plan.groups(rows),
        parts,
        rows: rows as u32,
        q_len: spec.q_len as u32,
        heads: spec.heads as u32,
        unseen: f32::NEG_INFINITY,
    }
}

/// Attention to two sets of keys, put together from its outputs and log-sum-exps: what attention over several devices
/// or hosts needs. More parts are merged one after the other.
#[derive(Clone, Debug)]
pub struct Merge {
    gpu: Gpu,
    spec: MergeSpec,
    plan: MergePlan,
    kernel: Kernel,
}

impl Merge {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: MergeSpec) -> Result<Self, Error> {
        let plan = MergePlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &merge_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &MergePlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<AttentionOutputs<T>, Error> {
        AttentionOutputs::zeros(&self.gpu, &self.spec.o_shape(), &self.spec.lse_shape())
    }

    /// Records the merge into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`] or has another shape or element type than
    /// the spec. The merged output may share no buffer with a part: the submission would fail.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        a: &AttentionOutputs<T>,
        b: &AttentionOutputs<T>,
        merged: &AttentionOutputs<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        for (part, o, lse) in [(a, "o_a", "lse_a"), (b, "o_b", "lse_b"), (merged, "o", "lse")] {
            part.o.expect(gpu, o, spec.dtype, &spec.o_shape())?;
            part.lse.expect(gpu, lse, DType::F32, &spec.lse_shape())?;
        }
        let buffers: Vec<_> =
            [merged, a, b].iter().flat_map(|part| [part.o.buffer(), part.lse.buffer()]).collect();
        kernel.dispatch(gpu, encoder, &combine_params(plan, spec, 2), &buffers)
    }

    /// Allocates the outputs, records the merge and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        a: &AttentionOutputs<T>,
        b: &AttentionOutputs<T>,
    ) -> Result<AttentionOutputs<T>, Error> {
        let merged = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, a, b, &merged)?;
        self.gpu.submit(encoder)?;
        Ok(merged)
    }
}
