//! The selective scan.

mod backward;

pub use backward::{
    CoefficientGradient, SelectiveScanBackward, SelectiveScanGradients, shaders as backward_shaders,
};

use crate::kernel::{Kernel, compile, params};
use crate::ops::Scratch;
use crate::ops::scan::row_scan::CarryParams;
use crate::plan::{Exchange, SelectiveScanPlan};
use crate::shader::{Linker, Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, SelectiveScanSpec, Tensor};

params! {
    /// `scan/selective_pack`.
    PackParams { total: u32, states: u32, channels: u32 }
}

params! {
    /// `scan/selective_reduce` and `scan/selective_scan`.
    ScanParams {
        channels: u32,
        length: u32,
        states: u32,
        channel_groups: u32,
        tiles: u32,
        chunk: u32,
        chunks: u32,
        slice_groups: u32,
        slice_channels: u32,
        first_batch: u32,
        first_group: u32,
        first_tile: u32,
        first_channel: u32,
        first_chunk: u32,
        first_skip: u32,
        first_border: u32,
    }
}

/// `B` or `C` of a selective scan, as the spec's [`Coefficients`](crate::Coefficients) say.
#[derive(Clone, Copy, Debug)]
pub enum CoefficientTensor<'a, T> {
    /// One for each channel and state.
    PerChannel(&'a Tensor<f32>),
    /// Different ones for each step.
    PerStep(&'a Tensor<T>),
}

impl<'a, T: Element> CoefficientTensor<'a, T> {
    fn check(
        &self,
        gpu: &Gpu,
        name: &'static str,
        varies: bool,
        dtype: DType,
        shape: &[usize],
    ) -> Result<(), Error> {
        match self {
            Self::PerChannel(tensor) if !varies => tensor.expect(gpu, name, DType::F32, shape),
            Self::PerStep(tensor) if varies => tensor.expect(gpu, name, dtype, shape),
            Self::PerChannel(tensor) => Err(other_shape(name, tensor.shape(), shape)),
            Self::PerStep(tensor) => Err(other_shape(name, tensor.shape(), shape)),
        }
    }

    /// What kernels of steps bind, and what the pack does.
    fn buffers(&self, gpu: &'a Gpu) -> (&'a wgpu::Buffer, &'a wgpu::Buffer) {
        match self {
            Self::PerChannel(tensor) => (gpu.unused(), tensor.buffer()),
            Self::PerStep(tensor) => (tensor.buffer(), gpu.unused()),
        }
    }
}

/// One kind of coefficients was given for the other.
fn other_shape(tensor: &'static str, found: &[usize], expected: &[usize]) -> Error {
    Error::Shape { tensor, found: found.to_vec(), expected: expected.to_vec() }
}

/// Inputs of a [`SelectiveScan`]; shapes as in [`SelectiveScanSpec`].
#[derive(Clone, Copy, Debug)]
pub struct SelectiveScanInputs<'a, T> {
    /// What is scanned.
    pub u: &'a Tensor<T>,
    /// Step sizes, before the bias and the softplus.
    pub delta: &'a Tensor<T>,
    /// How fast states decay.
    pub a: &'a Tensor<f32>,
    /// How inputs enter the states.
    pub b: CoefficientTensor<'a, T>,
    /// How states are read out.
    pub c: CoefficientTensor<'a, T>,
    /// `D`, by which inputs skip the recurrence, if the spec has it.
    pub skip: Option<&'a Tensor<f32>>,
    /// The gate, if the spec has it.
    pub z: Option<&'a Tensor<T>>,
    /// Terms added to the step sizes, if the spec has them.
    pub delta_bias: Option<&'a Tensor<f32>>,
    /// States before the first step, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

/// Outputs of a [`SelectiveScan`]; shapes as in [`SelectiveScanSpec`].
#[derive(Clone, Debug)]
pub struct SelectiveScanOutputs<T> {
    /// What the scan gives.
    pub out: Tensor<T>,
    /// The states after the last step: initial ones for what follows.
    pub last: Tensor<f32>,
}

impl<'a, T: Element> SelectiveScanInputs<'a, T> {
    /// Inputs without any option, whose coefficients vary from step to step.
    pub fn new(
        u: &'a Tensor<T>,
        delta: &'a Tensor<T>,
        a: &'a Tensor<f32>,
        b: &'a Tensor<T>,
        c: &'a Tensor<T>,
    ) -> Self {
        let (b, c) = (CoefficientTensor::PerStep(b), CoefficientTensor::PerStep(c));
        Self { u, delta, a, b, c, skip: None, z: None, delta_bias: None, initial: None }
    }

    /// Fails unless these are what the spec says.
    pub(crate) fn check(&self, gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<(), Error> {
        let (dtype, shape) = (spec.dtype, spec.shape());
        self.u.expect(gpu, "u", dtype, &shape)?;
        self.delta.expect(gpu, "delta", dtype, &shape)?;
        self.a.expect(gpu, "A", DType::F32, &spec.a_shape())?;
        self.b.check(gpu, "B", spec.b.vary(), dtype, &spec.b_shape())?;
        self.c.check(gpu, "C", spec.c.vary(), dtype, &spec.c_shape())?;
        expect_optional(gpu, self.skip, "D", spec.skip, &spec.channel_shape())?;
        expect_optional(gpu, self.z, "z", spec.gated, &shape)?;
        expect_optional(gpu, self.delta_bias, "delta_bias", spec.delta_bias, &spec.channel_shape())?;
        expect_optional(gpu, self.initial, "the initial state", spec.initial, &spec.state_shape())
    }

    /// What the kernels that take steps read first, after what they share.
    fn steps(&self, gpu: &'a Gpu) -> [&'a wgpu::Buffer; 4] {
        [self.u.buffer(), self.delta.buffer(), self.b.buffers(gpu).0, self.c.buffers(gpu).0]
    }

    fn initial_buffer(&self, gpu: &'a Gpu) -> &'a wgpu::Buffer {
        self.initial.map_or(gpu.unused(), Tensor::buffer)
    }
}

impl<T: Element> SelectiveScanOutputs<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<Self, Error> {
        Ok(Self { out: Tensor::zeros(gpu, &spec.shape())?, last: Tensor::zeros(gpu, &spec.state_shape())? })
    }

    pub(crate) fn check(&self, gpu: &Gpu, spec: &SelectiveScanSpec) -> Result<(), Error> {
        self.out.expect(gpu, "out", spec.dtype, &spec.shape())?;
        self.last.expect(gpu, "the last state", DType::F32, &spec.state_shape())
    }
}

/// The selective scan of Mamba, chunked over its steps so that one long sequence fills a GPU. A lane keeps its states in
/// registers; they reach device memory at the borders of chunks alone.
#[derive(Clone, Debug)]
pub struct SelectiveScan {
    gpu: Gpu,
    spec: SelectiveScanSpec,
    plan: SelectiveScanPlan,
    kernels: Vec<Kernel>,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &SelectiveScanPlan) -> Result<Vec<Shader>, ShaderError> {
    let mut shaders = vec![pack(plan)?];
    if plan.chunks > 1 {
        let reduce = chunk_linker("scan/selective_reduce", plan).set("BACKWARD", false);
        shaders.extend([reduce.module("scan/selective_one_way").link()?, carry(plan, plan.initial)?]);
    }
    let scan = exchange(chunk_linker("scan/selective_scan", plan), plan)
        .set("GATED", plan.gated)
        .set("HAS_BORDER", plan.has_border())
        .tensor("z", plan.storage)
        .tensor("out", plan.storage);
    shaders.push(scan.link()?);
    Ok(shaders)
}

fn pack(plan: &SelectiveScanPlan) -> Result<Shader, ShaderError> {
    Linker::new("scan/selective_pack")
        .set("LANES", plan.lanes)
        .set("B_VARIES", plan.b_varies)
        .set("C_VARIES", plan.c_varies)
        .set("HAS_SKIP", plan.skip)
        .set("HAS_BIAS", plan.delta_bias)
        .link()
}

fn carry(plan: &SelectiveScanPlan, initial: bool) -> Result<Shader, ShaderError> {
    let lanes = match plan.carry_exchange {
        Exchange::Workgroup => ["common/lane_workgroup", "scan/lanes_workgroup"],
        Exchange::Subgroup => ["common/lane_subgroup", "scan/lanes_subgroup"],
    };
    Linker::new("scan/carry")
        .module(if plan.complex { "scan/affine_complex" } else { "scan/affine" })
        .module("scan/lane_scan")
        .module(lanes[0])
        .module(lanes[1])
        .set("LANES", plan.carry_lanes)
        .set("ROW_LANES", plan.carry_lanes)
        .set("HAS_INITIAL", initial)
        .link()
}

/// What the kernels that take chunks have in common.
fn chunk_linker(kernel: &'static str, plan: &SelectiveScanPlan) -> Linker {
    Linker::new(kernel)
        .module(if plan.complex { "scan/states_complex" } else { "scan/states_real" })
        .module("common/activation")
        .module("scan/selective")
        .set("LANES", plan.lanes)
        .set("STATE_LANES", plan.state_lanes)
        .set("B_VARIES", plan.b_varies)
        .set("C_VARIES", plan.c_varies)
        .set("DELTA_SOFTPLUS", plan.delta_softplus)
        .tensor("u", plan.storage)
        .tensor("delta", plan.storage)
        .tensor("b", plan.coefficients)
        .tensor("c", plan.coefficients)
}

/// The sum over a channel's states.
fn exchange(linker: Linker, plan: &SelectiveScanPlan) -> Linker {
    let linker = linker.set("REDUCE_LANES", plan.state_lanes);
    match plan.exchange {
        Exchange::Workgroup => linker.module("common/lane_workgroup").module("common/reduce_workgroup"),
        Exchange::Subgroup => linker.module("common/lane_subgroup").module("common/reduce_subgroup"),
    }
}

fn encode_pack<T: Element>(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    kernel: &Kernel,
    (spec, plan): (&SelectiveScanSpec, &SelectiveScanPlan),
    inputs: &SelectiveScanInputs<'_, T>,
    (held, total): (&Tensor<f32>, usize),
) -> Result<(), Error> {
    let params = PackParams {
        groups: (total as u32).div_ceil(plan.lanes),
        total: total as u32,
        states: inputs.a.len() as u32,
        channels: spec.channels as u32,
    };
    let [skip, bias] =
        [inputs.skip, inputs.delta_bias].map(|tensor| tensor.map_or(gpu.unused(), Tensor::buffer));
    let buffers = [
        inputs.a.buffer(),
        inputs.b.buffers(gpu).1,
        inputs.c.buffers(gpu).1,
        skip,
        bias,
        inputs.initial_buffer(gpu),
        held.buffer(),
    ];
    kernel.dispatch(gpu, encoder, &params, &buffers)
}

/// What the kernels of all chunks are told.
fn scan_params(spec: &SelectiveScanSpec, plan: &SelectiveScanPlan, skip: usize, border: usize) -> ScanParams {
    ScanParams {
        groups: plan.groups(spec),
        channels: spec.channels as u32,
        length: spec.length as u32,
        states: spec.state_dim as u32,
        channel_groups: spec.groups() as u32,
        tiles: plan.tiles(spec),
        chunk: plan.chunk,
        chunks: plan.chunks,
        slice_groups: spec.groups() as u32,
        slice_channels: spec.channels as u32,
        first_batch: 0,
        first_group: 0,
        first_tile: 0,
        first_channel: 0,
        first_chunk: 0,
        first_skip: skip as u32,
        first_border: border as u32,
    }
}

impl SelectiveScan {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: SelectiveScanSpec) -> Result<Self, Error> {
        let plan = SelectiveScanPlan::new(&spec, gpu.caps())?;
        let kernels = compile(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SelectiveScanPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<SelectiveScanOutputs<T>, Error> {
        SelectiveScanOutputs::zeros(&self.gpu, &self.spec)
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
        inputs: SelectiveScanInputs<'_, T>,
        outputs: &SelectiveScanOutputs<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels, scratch } = self;
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec)?;
        let place = plan.held(spec);
        let scratch = scratch.tensors(gpu, &[&[place.end], &[plan.maps(spec)]])?;
        let [held, maps] = [&scratch[0], &scratch[1]];
        let params = scan_params(spec, plan, place.skip, place.border);
        let [u, delta, b, c] = inputs.steps(gpu);
        // The states of a single chunk are put where those of chunks begin.
        let packed = if plan.chunks == 1 { place.end } else { place.border };
        encode_pack(gpu, encoder, &kernels[0], (spec, plan), &inputs, (held, packed))?;
        if let [_, reduce, carry, _] = kernels.as_slice() {
            reduce.dispatch(gpu, encoder, &params, &[held.buffer(), u, delta, b, c, maps.buffer()])?;
            let params = CarryParams {
                groups: spec.rows() as u32,
                chunks: plan.chunks,
                first: (place.border / spec.parts()) as u32,
                first_initial: 0,
                first_last: 0,
            };
            // A row's states are carried one by one; places are counted in states, which begin at a whole one.
            let buffers = [maps.buffer(), inputs.initial_buffer(gpu), held.buffer(), outputs.last.buffer()];
            carry.dispatch(gpu, encoder, &params, &buffers)?;
        }
        let z = inputs.z.map_or(gpu.unused(), Tensor::buffer);
        let buffers = [held.buffer(), u, delta, b, c, z, outputs.out.buffer(), outputs.last.buffer()];
        kernels[kernels.len() - 1].dispatch(gpu, encoder, &params, &buffers)
    }

    /// Allocates the outputs, records the scan and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: SelectiveScanInputs<'_, T>,
    ) -> Result<SelectiveScanOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// One step of a [`SelectiveScan`] at a time, as decoding takes them: the same kernels over rows of one step, with the
/// state replaced in place.
#[derive(Clone, Debug)]
pub struct SelectiveScanStep {
    scan: SelectiveScan,
}

impl SelectiveScanStep {
    /// Plans a step for this GPU and compiles what it needs; the spec's length and initial state mean nothing to it.
    /// Fails with [`Error::Plan`] if the spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: SelectiveScanSpec) -> Result<Self, Error> {
        Ok(Self { scan: SelectiveScan::new(gpu, SelectiveScanSpec { length: 1, initial: true, ..spec })? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SelectiveScanPlan {
        &self.scan.plan
    }

    /// Tensors for the output, of length 1, and for the state, which begins with 0.
    pub fn outputs<T: Element>(&self) -> Result<SelectiveScanOutputs<T>, Error> {
        self.scan.outputs()
    }

    /// Records a step: it takes the state in `outputs.last`, which a [`SelectiveScan`] may have left, and replaces it.
    /// Tensors of steps have length 1, and the inputs hold no initial state. Fails like [`SelectiveScan::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: SelectiveScanInputs<'_, T>,
        outputs: &SelectiveScanOutputs<T>,
    ) -> Result<(), Error> {
        if inputs.initial.is_some() {
            return Err(Error::Presence { tensor: "the initial state", expected: false });
        }
        // No kernel reads and writes it at once: the first one copies it.
        self.scan.encode(encoder, SelectiveScanInputs { initial: Some(&outputs.last), ..inputs }, outputs)
    }

    /// Records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: SelectiveScanInputs<'_, T>,
        outputs: &SelectiveScanOutputs<T>,
    ) -> Result<(), Error> {
        let mut encoder = self.scan.gpu.encoder();
        self.encode(&mut encoder, inputs, outputs)?;
        self.scan.gpu.submit(encoder)
    }
}
