//! The Monarch product.

use super::block_tile::{between_words, biased_block_diagonal, block_diagonal, diagonal_params, with_bias};
use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{MonarchPath, MonarchPlan, MonarchRows};
use crate::shader::{Linker, Shader, ShaderError};
use crate::{Element, Error, Gpu, MonarchSpec, Tensor};

params! {
    /// `butterfly/monarch`.
    MonarchParams { batch: u32, rows: u32, k: u32, q: u32, p: u32, l: u32, s: u32, r: u32 }
}

/// Inputs of a [`Monarch`] product; shapes as in [`MonarchSpec`].
#[derive(Clone, Copy, Debug)]
pub struct MonarchInputs<'a, T> {
    /// Rows to multiply.
    pub x: &'a Tensor<T>,
    /// First factor.
    pub w1: &'a Tensor<T>,
    /// Second factor.
    pub w2: &'a Tensor<T>,
}

impl<T: Element> MonarchInputs<'_, T> {
    /// Fails unless these are what the spec says.
    pub(super) fn check(&self, gpu: &Gpu, spec: &MonarchSpec) -> Result<(), Error> {
        self.x.expect(gpu, "x", spec.dtype, &[spec.batch, spec.n_in()])?;
        self.w1.expect(gpu, "w1", spec.dtype, &spec.w1)?;
        self.w2.expect(gpu, "w2", spec.dtype, &spec.w2)
    }
}

/// The Monarch product `y = M x` (Dao et al. 2022), its permutations folded into the loads and stores.
#[derive(Clone, Debug)]
pub struct Monarch {
    gpu: Gpu,
    spec: MonarchSpec,
    plan: MonarchPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &MonarchPlan) -> Result<Vec<Shader>, ShaderError> {
    match &plan.path {
        MonarchPath::Fused(rows) => Ok(vec![fused(plan, rows)?]),
        MonarchPath::TwoPass { first, second, written, read } => Ok(vec![
            block_diagonal(first, false, [plan.x, plan.w1, *written])?,
            biased_block_diagonal(second, false, [*read, plan.w2, plan.y], plan.bias.then_some(plan.y))?,
        ]),
    }
}

fn fused(plan: &MonarchPlan, rows: &MonarchRows) -> Result<Shader, ShaderError> {
    with_bias(Linker::new("butterfly/monarch"), plan.bias.then_some(plan.y))
        .module("butterfly/block")
        .module(if rows.z_vectors { "butterfly/z_vectors" } else { "butterfly/z_scalars" })
        .set("LANES", rows.lanes)
        .set("LANE_ROWS", rows.lane_rows)
        .set("LANE_QUADS", rows.lane_quads)
        .set("Z_FLOATS", rows.z_floats)
        .tensor("x", plan.x)
        .tensor("w1", plan.w1)
        .tensor("w2", plan.w2)
        .tensor("y", plan.y)
        .link()
}

impl Monarch {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: MonarchSpec) -> Result<Self, Error> {
        let plan = MonarchPlan::new(&spec, gpu.caps())?;
        Self::with_plan(gpu, spec, plan)
    }

    /// Like [`new`](Self::new), fused even where the planner would rather not; see [`MonarchPlan::fused`].
    pub fn fused(gpu: &Gpu, spec: MonarchSpec) -> Result<Self, Error> {
        let plan = MonarchPlan::fused(&spec, gpu.caps())?;
        Self::with_plan(gpu, spec, plan)
    }

    /// Like [`new`](Self::new), in two passes even where the planner would fuse; see [`MonarchPlan::two_pass`].
    pub fn two_pass(gpu: &Gpu, spec: MonarchSpec) -> Result<Self, Error> {
        let plan = MonarchPlan::two_pass(&spec, gpu.caps())?;
        Self::with_plan(gpu, spec, plan)
    }

    pub(super) fn with_plan(gpu: &Gpu, spec: MonarchSpec, plan: MonarchPlan) -> Result<Self, Error> {
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &MonarchPlan {
        &self.plan
    }

    /// A tensor for `y`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &[self.spec.batch, self.spec.n_out()])
    }

    /// Records the product into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MonarchInputs<'_, T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        self.encode_biased(encoder, inputs, None, y)
    }

    /// [`encode`](Self::encode), with the bias that the plan adds.
    pub(super) fn encode_biased<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MonarchInputs<'_, T>,
        bias: Option<&Tensor<T>>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        self.check(&inputs, y)?;
        let Self { gpu, spec, plan, kernels, scratch } = self;
        let [x, w1, w2] = [inputs.x, inputs.w1, inputs.w2].map(Tensor::buffer);
        let bias = bias.map(Tensor::buffer);
        match (&plan.path, kernels.as_slice()) {
            (MonarchPath::Fused(rows), [monarch]) => {
                let params = fused_params(spec, rows);
                let buffers: Vec<_> = [x, w1, w2, y.buffer()].into_iter().chain(bias).collect();
                monarch.dispatch(gpu, encoder, &params, &buffers)
            }
            (MonarchPath::TwoPass { first, second, read, .. }, [to_scratch, from_scratch]) => {
                let words = between_words(spec.batch * spec.n_mid(), *read);
                let z = scratch.tensors(gpu, &[&[words]])?[0].buffer();
                let params = diagonal_params(spec.batch, spec.w1, first);
                to_scratch.dispatch(gpu, encoder, &params, &[x, w1, z])?;
                let params = diagonal_params(spec.batch, spec.w2, second);
                let buffers: Vec<_> = [z, w2, y.buffer()].into_iter().chain(bias).collect();
                from_scratch.dispatch(gpu, encoder, &params, &buffers)
            }
            _ => unreachable!("a fused product has one kernel, the other two"),
        }
    }

    /// Allocates `y`, records the product and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: MonarchInputs<'_, T>) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }

    fn check<T: Element>(&self, inputs: &MonarchInputs<'_, T>, y: &Tensor<T>) -> Result<(), Error> {
        let spec = &self.spec;
        inputs.check(&self.gpu, spec)?;
        y.expect(&self.gpu, "y", spec.dtype, &[spec.batch, spec.n_out()])
    }
}

fn fused_params(spec: &MonarchSpec, rows: &MonarchRows) -> MonarchParams {
    let ([k, q, p], [l, s, r]) = (spec.w1.map(|size| size as u32), spec.w2.map(|size| size as u32));
    let batch = spec.batch as u32;
    MonarchParams { groups: batch.div_ceil(rows.rows), batch, rows: rows.rows, k, q, p, l, s, r }
}
