//! The linear scan.

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{Exchange, LinearScanBackwardPlan, LinearScanPlan};
use crate::shader::{Linker, Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, LinearScanSpec, Tensor};

params! {
    /// `scan/chunk_reduce` and `scan/chunk_scan`.
    ChunkParams { length: u32, chunk: u32, chunks: u32 }
}

params! {
    /// `scan/carry`.
    CarryParams { chunks: u32, first: u32 }
}

/// Inputs of a [`LinearScan`]; shapes as in [`LinearScanSpec`].
#[derive(Clone, Copy, Debug)]
pub struct LinearScanInputs<'a, T> {
    /// Factors of the state.
    pub a: &'a Tensor<T>,
    /// Terms added to the state.
    pub b: &'a Tensor<T>,
    /// States before the first step, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

/// Outputs of a [`LinearScan`]; shapes as in [`LinearScanSpec`].
#[derive(Clone, Debug)]
pub struct LinearScanOutputs<T> {
    /// Every state.
    pub h: Tensor<T>,
    /// The states after the last step, in f32: an initial state for what follows.
    pub last: Tensor<f32>,
}

impl<T: Element> LinearScanInputs<'_, T> {
    /// Fails unless these and the outputs are what the spec says.
    pub(crate) fn check(
        &self,
        gpu: &Gpu,
        spec: &LinearScanSpec,
        outputs: &LinearScanOutputs<T>,
    ) -> Result<(), Error> {
        self.a.expect(gpu, "a", spec.dtype, &spec.shape())?;
        self.b.expect(gpu, "b", spec.dtype, &spec.shape())?;
        expect_optional(gpu, self.initial, "the initial state", spec.initial, &spec.state_shape())?;
        outputs.h.expect(gpu, "h", spec.dtype, &spec.shape())?;
        outputs.last.expect(gpu, "the last state", DType::F32, &spec.state_shape())
    }
}

impl<T: Element> LinearScanOutputs<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &LinearScanSpec) -> Result<Self, Error> {
        Ok(Self { h: Tensor::zeros(gpu, &spec.shape())?, last: Tensor::zeros(gpu, &spec.state_shape())? })
    }
}

/// The linear recurrence `h_t = a_t h_(t-1) + b_t`, as a scan of affine maps (Blelloch 1990), chunked so that one
/// long row fills a &self.gpu.
#[derive(Clone, Debug)]
pub struct LinearScan {
    gpu: Gpu,
    spec: LinearScanSpec,
    plan: LinearScanPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &LinearScanPlan) -> Result<Vec<Shader>, ShaderError> {
    let scan =
        row_linker(plan, "scan/chunk_scan", false).module("scan/store_states").tensor("h", plan.storage);
    phases(plan, false, scan)
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(plan: &LinearScanBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let storage = plan.scan.storage;
    let scan = row_linker(&plan.scan, "scan/chunk_scan", true)
        .module("scan/store_gradients")
        .set("HAS_INITIAL", plan.initial)
        .tensor("h", storage)
        .tensor("da", storage)
        .tensor("db", storage);
    phases(&plan.scan, true, scan)
}

/// The phase that is always there, and those before it where rows have several chunks.
fn phases(plan: &LinearScanPlan, behind: bool, scan: Linker) -> Result<Vec<Shader>, ShaderError> {
    let scan = scan.set("HAS_CARRY", plan.initial || plan.chunks > 1).link()?;
    if plan.chunks == 1 {
        return Ok(vec![scan]);
    }
    let carry = linker(plan, "scan/carry").set("HAS_INITIAL", plan.initial);
    Ok(vec![row_linker(plan, "scan/chunk_reduce", behind).link()?, carry.link()?, scan])
}

/// What all kernels have in common.
fn linker(plan: &LinearScanPlan, kernel: &'static str) -> Linker {
    let linker = Linker::new(kernel).module("scan/affine").module("scan/lane_scan").set("LANES", plan.lanes);
    match plan.exchange {
        Exchange::Workgroup => linker.module("common/lane_workgroup").module("scan/lanes_workgroup"),
        Exchange::Subgroup => linker.module("common/lane_subgroup").module("scan/lanes_subgroup"),
    }
}

/// What the kernels that take steps have in common.
fn row_linker(plan: &LinearScanPlan, kernel: &'static str, behind: bool) -> Linker {
    linker(plan, kernel)
        .module("scan/row")
        .set("ITEMS", plan.items)
        .set("REVERSE", plan.reverse)
        .set("BEHIND", behind)
        .tensor("a", plan.storage)
        .tensor("b", plan.storage)
}

impl LinearScan {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LinearScanSpec) -> Result<Self, Error> {
        let plan = LinearScanPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &LinearScanPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<LinearScanOutputs<T>, Error> {
        LinearScanOutputs::zeros(&self.gpu, &self.spec)
    }

    /// Records the scan into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearScanInputs<'_, T>,
        outputs: &LinearScanOutputs<T>,
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, &self.spec, outputs)?;
        let Self { gpu, spec, plan, kernels, scratch } = self;
        let steps = [inputs.a.buffer(), inputs.b.buffer()];
        let initial = inputs.initial.map_or(gpu.unused(), Tensor::buffer);
        let ends = [initial, outputs.last.buffer()];
        encode_phases(gpu, encoder, (spec, plan), (kernels, scratch), steps, ends, &[outputs.h.buffer()])
    }

    /// Allocates the outputs, records the scan and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: LinearScanInputs<'_, T>) -> Result<LinearScanOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// Records the phases of a scan over the factors and terms of steps, from the initial to the last state. `stored` are the
/// buffers of what the last phase does with the states.
fn encode_phases(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    (spec, plan): (&LinearScanSpec, &LinearScanPlan),
    (kernels, scratch): (&[Kernel], &Scratch),
    [a, b]: [&wgpu::Buffer; 2],
    [initial, last]: [&wgpu::Buffer; 2],
    stored: &[&wgpu::Buffer],
) -> Result<(), Error> {
    let rows = spec.rows() as u32;
    let params = ChunkParams {
        groups: rows * plan.chunks,
        length: spec.length as u32,
        chunk: plan.chunk,
        chunks: plan.chunks,
    };
    let scan = |encoder: &mut _, kernel: &Kernel, carries| {
        let buffers: Vec<_> = [a, b, carries, last].into_iter().chain(stored.iter().copied()).collect();
        kernel.dispatch(gpu, encoder, &params, &buffers)
    };
    match kernels {
        [chunk_scan] => scan(encoder, chunk_scan, initial),
        [chunk_reduce, carry, chunk_scan] => {
            let (rows, chunks) = (spec.rows(), plan.chunks as usize);
            let between = scratch.tensors(gpu, &[&[rows, chunks, 2], &[rows, chunks]])?;
            let [maps, carries] = [between[0].buffer(), between[1].buffer()];
            chunk_reduce.dispatch(gpu, encoder, &params, &[a, b, maps])?;
            let params = CarryParams { groups: rows as u32, chunks: plan.chunks, first: 0 };
            carry.dispatch(gpu, encoder, &params, &[maps, initial, carries, last])?;
            scan(encoder, chunk_scan, carries)
        }
        _ => unreachable!("a scan has one kernel or three"),
    }
}

/// Gradients of a [`LinearScan`], of the shapes of what they belong to.
#[derive(Clone, Debug)]
pub struct LinearScanGradients<T> {
    /// Of `a`.
    pub da: Tensor<T>,
    /// Of `b`.
    pub db: Tensor<T>,
    /// Of the initial state, whether one was given or it was 0.
    pub dinitial: Tensor<f32>,
}

impl<T: Element> LinearScanGradients<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &LinearScanSpec) -> Result<Self, Error> {
        let rows = || Tensor::zeros(gpu, &spec.shape());
        Ok(Self { da: rows()?, db: rows()?, dinitial: Tensor::zeros(gpu, &spec.state_shape())? })
    }
}

/// What the backward pass of a [`LinearScan`] reads; shapes as in [`LinearScanSpec`].
#[derive(Clone, Copy, Debug)]
pub struct LinearScanBackwardInputs<'a, T> {
    /// Factors of the state.
    pub a: &'a Tensor<T>,
    /// The states that the scan gave.
    pub h: &'a Tensor<T>,
    /// States before the first step, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
    /// Gradients of the states that were given.
    pub dh: &'a Tensor<T>,
}

/// The backward pass of a [`LinearScan`]: the same scan the other way, over the factors of the steps behind.
#[derive(Clone, Debug)]
pub struct LinearScanBackward {
    gpu: Gpu,
    spec: LinearScanSpec,
    plan: LinearScanBackwardPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

impl LinearScanBackward {
    /// Plans the spec's backward pass for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the
    /// spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LinearScanSpec) -> Result<Self, Error> {
        let plan = LinearScanBackwardPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &backward_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &LinearScanBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<LinearScanGradients<T>, Error> {
        LinearScanGradients::zeros(&self.gpu, &self.spec)
    }

    /// Records the gradients into an encoder of the same device. Fails like [`LinearScan::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearScanBackwardInputs<'_, T>,
        gradients: &LinearScanGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, scratch } = self;
        let LinearScanBackwardInputs { a, h, initial, dh } = inputs;
        let LinearScanGradients { da, db, dinitial } = gradients;
        for (name, tensor) in [("a", a), ("h", h), ("dh", dh), ("da", da), ("db", db)] {
            tensor.expect(gpu, name, spec.dtype, &spec.shape())?;
        }
        expect_optional(gpu, initial, "the initial state", spec.initial, &spec.state_shape())?;
        let name = "the gradient of the initial state";
        dinitial.expect(gpu, name, DType::F32, &spec.state_shape())?;
        let given = initial.map_or(gpu.unused(), Tensor::buffer);
        let stored = [h.buffer(), given, da.buffer(), db.buffer()];
        let ends = [gpu.unused(), dinitial.buffer()];
        let steps = [a.buffer(), dh.buffer()];
        encode_phases(gpu, encoder, (spec, &plan.scan), (kernels, scratch), steps, ends, &stored)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: LinearScanBackwardInputs<'_, T>,
    ) -> Result<LinearScanGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}
