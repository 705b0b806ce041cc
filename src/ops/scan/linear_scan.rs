//! The linear scan.

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::plan::{Exchange, LinearScanPlan, Plan as _};
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
    plan.footprints().iter().map(|footprint| shader(plan, footprint.kernel)).collect()
}

fn shader(plan: &LinearScanPlan, kernel: &'static str) -> Result<Shader, ShaderError> {
    let linker = Linker::new(kernel).module("scan/affine").module("scan/lane_scan").set("LANES", plan.lanes);
    let linker = match plan.exchange {
        Exchange::Workgroup => linker.module("common/lane_workgroup").module("scan/lanes_workgroup"),
        Exchange::Subgroup => linker.module("common/lane_subgroup").module("scan/lanes_subgroup"),
    };
    if kernel == "scan/carry" {
        return linker.set("HAS_INITIAL", plan.initial).link();
    }
    let linker = linker.module("scan/row").set("ITEMS", plan.items);
    let linker = linker.tensor("a", plan.storage).tensor("b", plan.storage);
    if kernel == "scan/chunk_reduce" {
        return linker.link();
    }
    linker.set("HAS_CARRY", plan.initial || plan.chunks > 1).tensor("h", plan.storage).link()
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
        let rows = spec.rows() as u32;
        let (a, b) = (inputs.a.buffer(), inputs.b.buffer());
        let initial = inputs.initial.map_or(gpu.unused(), Tensor::buffer);
        let params = ChunkParams {
            groups: rows * plan.chunks,
            length: spec.length as u32,
            chunk: plan.chunk,
            chunks: plan.chunks,
        };
        let scan = |encoder: &mut _, kernel: &Kernel, carries| {
            let buffers = [a, b, carries, outputs.h.buffer(), outputs.last.buffer()];
            kernel.dispatch(gpu, encoder, &params, &buffers)
        };
        match kernels.as_slice() {
            [chunk_scan] => scan(encoder, chunk_scan, initial),
            [chunk_reduce, carry, chunk_scan] => {
                let (rows, chunks) = (spec.rows(), plan.chunks as usize);
                let between = scratch.tensors(gpu, &[&[rows, chunks, 2], &[rows, chunks]])?;
                let [maps, carries] = [between[0].buffer(), between[1].buffer()];
                chunk_reduce.dispatch(gpu, encoder, &params, &[a, b, maps])?;
                let params = CarryParams { groups: rows as u32, chunks: plan.chunks, first: 0 };
                let last = outputs.last.buffer();
                carry.dispatch(gpu, encoder, &params, &[maps, initial, carries, last])?;
                scan(encoder, chunk_scan, carries)
            }
            _ => unreachable!("a scan has one kernel or three"),
        }
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
