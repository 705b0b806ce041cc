//! The causal depthwise convolution.

use crate::kernel::{Kernel, compile_array, params};
use crate::ops::Scratch;
use crate::ops::scan::sum_terms::{self, Terms};
use crate::plan::{Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::tensor::expect_optional;
use crate::{Conv1dSpec, DType, Element, Error, Gpu, PlanError, Sequences, Tensor};

params! {
    /// `scan/conv1d`.
    ForwardParams { rows: u32, channels: u32, length: u32, shares: u32 }
}

params! {
    /// `scan/conv1d_last`.
    LastParams { batches: u32, channels: u32, first: u32, part: u32, length: u32, shares: u32 }
}

params! {
    /// `scan/conv1d_last_backward`.
    LastBackwardParams {
        batches: u32,
        channels: u32,
        first: u32,
        part: u32,
        length: u32,
        chunk: u32,
        chunks: u32,
        first_bias: u32,
        first_state: u32,
    }
}

params! {
    /// `scan/conv1d_backward`.
    BackwardParams {
        channels: u32,
        length: u32,
        chunk: u32,
        chunks: u32,
        first_bias: u32,
        first_state: u32,
    }
}

params! {
    /// `scan/conv1d_step`.
    StepParams { rows: u32, channels: u32, first: u32, part: u32, oldest: u32 }
}

/// To which sequence of its row each step belongs, on the device.
#[derive(Clone, Debug)]
pub struct SequenceIndices {
    /// The bits of i32 numbers: of each step, and of packed sequences where they begin and end too.
    tensor: Tensor<f32>,
    /// (batch, length), and behind it the number of packed sequences.
    shape: Vec<usize>,
    /// Packed sequences of no steps.
    empty: Vec<usize>,
}

impl SequenceIndices {
    /// Copies the indices, of shape (batch, length), to the device. Neighbouring steps of equal index are one sequence.
    /// Fails if they do not fill the shape.
    pub fn new(gpu: &Gpu, shape: [usize; 2], indices: &[i32]) -> Result<Self, Error> {
        let tensor = Tensor::from_slice(gpu, &shape, bytemuck::cast_slice(indices))?;
        Ok(Self { tensor, shape: shape.to_vec(), empty: vec![] })
    }

    /// Sequences that are packed: sequence `i` takes the steps from the `i`-th number to before the next, as in
    /// [`Sequences::Packed`](crate::Sequences::Packed). Fails with [`Error::Plan`] if the numbers do not go from 0 to the
    /// length without ever decreasing.
    pub fn packed(gpu: &Gpu, length: usize, starts: &[usize]) -> Result<Self, Error> {
        let sequences = Sequences::Packed(starts.to_vec());
        sequences.check(1, length).map_err(PlanError::from)?;
        let runs = sequences.runs(1, length);
        let numbers = (0_u32..).zip(&runs).flat_map(|(i, run)| vec![i; run.steps]);
        let numbers: Vec<u32> = numbers.chain(starts.iter().map(|&start| start as u32)).collect();
        let tensor = Tensor::from_slice(gpu, &[numbers.len()], bytemuck::cast_slice(&numbers))?;
        let empty = (0..runs.len()).filter(|&i| runs[i].steps == 0).collect();
        Ok(Self { tensor, shape: vec![1, length, runs.len()], empty })
    }
}

/// Inputs of a [`Conv1d`]; shapes as in [`Conv1dSpec`].
#[derive(Clone, Copy, Debug)]
pub struct Conv1dInputs<'a, T> {
    /// What is convolved.
    pub x: &'a Tensor<T>,
    /// Taps.
    pub weight: &'a Tensor<f32>,
    /// Terms added to every output of a channel, if the spec has them.
    pub bias: Option<&'a Tensor<f32>>,
    /// The sequence of each step, if the spec has them.
    pub sequences: Option<&'a SequenceIndices>,
    /// Inputs before the first step, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

/// Outputs of a [`Conv1d`]; shapes as in [`Conv1dSpec`].
#[derive(Clone, Debug)]
pub struct Conv1dOutputs<T> {
    /// What the convolution gives.
    pub y: Tensor<T>,
    /// The inputs of the last steps: an initial state for what follows, and the state of a [`Conv1dStep`].
    pub last: Tensor<f32>,
}

impl<'a, T: Element> Conv1dInputs<'a, T> {
    /// Inputs without a bias, sequences or an initial state.
    pub fn new(x: &'a Tensor<T>, weight: &'a Tensor<f32>) -> Self {
        Self { x, weight, bias: None, sequences: None, initial: None }
    }

    pub(crate) fn check(&self, gpu: &Gpu, spec: &Conv1dSpec) -> Result<(), Error> {
        self.x.expect(gpu, "x", spec.dtype, &spec.shape())?;
        check_parameters(gpu, spec, self.weight, self.bias)?;
        let sequences = self.sequences.map(|indices| &indices.tensor);
        let own = sequences.map_or(vec![], |tensor| tensor.shape().to_vec());
        expect_optional(gpu, sequences, "the sequences", spec.sequences, &own)?;
        if let Some(SequenceIndices { shape, .. }) = self.sequences {
            let expected: Vec<_> = spec.sequences_shape().into_iter().chain(spec.packed).collect();
            if *shape != expected {
                return Err(Error::Shape { tensor: "the sequences", found: shape.clone(), expected });
            }
        }
        expect_optional(gpu, self.initial, "the initial state", spec.initial, &spec.state_shape())
    }

    /// The buffers that every kernel of a row reads first.
    fn buffers(&self, gpu: &'a Gpu) -> [&'a wgpu::Buffer; 4] {
        let [bias, initial] = [self.bias, self.initial].map(|one| one.map_or(gpu.unused(), Tensor::buffer));
        [self.x.buffer(), self.weight.buffer(), bias, initial]
    }

    fn sequences(&self) -> Option<&'a wgpu::Buffer> {
        self.sequences.map(|indices| indices.tensor.buffer())
    }
}

fn check_parameters(
    gpu: &Gpu,
    spec: &Conv1dSpec,
    weight: &Tensor<f32>,
    bias: Option<&Tensor<f32>>,
) -> Result<(), Error> {
    weight.expect(gpu, "weight", DType::F32, &spec.weight_shape())?;
    expect_optional(gpu, bias, "bias", spec.bias, &spec.bias_shape())
}

impl<T: Element> Conv1dOutputs<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &Conv1dSpec) -> Result<Self, Error> {
        Ok(Self { y: Tensor::zeros(gpu, &spec.shape())?, last: Tensor::zeros(gpu, &spec.state_shape())? })
    }

    pub(crate) fn check(&self, gpu: &Gpu, spec: &Conv1dSpec) -> Result<(), Error> {
        self.y.expect(gpu, "y", spec.dtype, &spec.shape())?;
        self.last.expect(gpu, "the last state", DType::F32, &spec.state_shape())
    }
}

/// A causal depthwise convolution of two to four taps.
#[derive(Clone, Debug)]
pub struct Conv1d {
    gpu: Gpu,
    spec: Conv1dSpec,
    plan: Conv1dPlan,
    kernel: Kernel,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &Conv1dPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = row_linker(plan.kernel(), plan).tensor("y", plan.storage);
    let linker = if plan.channels_last {
        linker.set("STEPS", 4 * plan.quads)
    } else {
        linker.set("QUADS", plan.quads)
    };
    Ok(vec![linker.link()?])
}

/// What the kernels that take whole rows have in common.
fn row_linker(kernel: &'static str, plan: &Conv1dPlan) -> Linker {
    let linker = if plan.packed {
        Linker::new(kernel).module("scan/states_packed")
    } else {
        let sequences = if plan.sequences { "scan/sequences_listed" } else { "scan/sequences_one" };
        let linker = Linker::new(kernel).module(sequences);
        if plan.channels_last { linker.module("scan/states_batches") } else { linker }
    };
    linker
        .module("common/activation")
        .module("scan/conv1d_taps")
        .module(if plan.channels_last { "scan/conv1d_channels" } else { "scan/conv1d_row" })
        .set("LANES", plan.lanes)
        .set("WIDTH", plan.width)
        .set("SILU", plan.silu)
        .set("HAS_BIAS", plan.bias)
        .set("HAS_INITIAL", plan.initial)
        .tensor("x", plan.storage)
}

impl Conv1d {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: Conv1dSpec) -> Result<Self, Error> {
        Self::in_parts(gpu, spec, &[spec.channels])
    }

    /// The same where the channels of `y` lie in several tensors, so many in each; they lie innermost then.
    pub(crate) fn in_parts(gpu: &Gpu, spec: Conv1dSpec, parts: &[usize]) -> Result<Self, Error> {
        let plan = Conv1dPlan::in_parts(&spec, parts, gpu.caps())?;
        let [kernel] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &Conv1dPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<Conv1dOutputs<T>, Error> {
        Conv1dOutputs::zeros(&self.gpu, &self.spec)
    }

    /// Records the convolution into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it. No output may share a buffer with an input: the submission
    /// would fail.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dInputs<'_, T>,
        outputs: &Conv1dOutputs<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        if spec.channels_last {
            return self.encode_parts(encoder, inputs, &[&outputs.y], &outputs.last);
        }
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec)?;
        let (rows, shares) = (spec.rows() as u32, plan.shares(spec));
        let params = ForwardParams {
            groups: (rows * shares).div_ceil(plan.lanes),
            rows,
            channels: spec.channels as u32,
            length: spec.length as u32,
            shares,
        };
        let mut buffers = inputs.buffers(gpu).to_vec();
        buffers.extend([outputs.y.buffer(), outputs.last.buffer()]);
        buffers.extend(inputs.sequences());
        kernel.dispatch(gpu, encoder, &params, &buffers)
    }

    /// Records a convolution whose channels lie innermost, those of `y` in several tensors.
    pub(crate) fn encode_parts<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dInputs<'_, T>,
        parts: &[&Tensor<T>],
        last: &Tensor<f32>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        inputs.check(gpu, spec)?;
        last.expect(gpu, "the last state", DType::F32, &spec.state_shape())?;
        let bytes = 4 * (spec.channels * (spec.width - 1)) as u64;
        // A sequence of no steps leaves what it begins with.
        for at in inputs.sequences.iter().flat_map(|sequences| &sequences.empty).map(|&i| i as u64 * bytes) {
            match inputs.initial {
                Some(initial) => {
                    encoder.copy_buffer_to_buffer(initial.buffer(), at, last.buffer(), at, bytes);
                }
                None => encoder.clear_buffer(last.buffer(), at, Some(bytes)),
            }
        }
        let shares = plan.shares(spec);
        for (first, y) in places(gpu, spec, "y", parts)? {
            let part = y.shape()[2] as u32;
            let params = LastParams {
                groups: (spec.batch as u32 * shares * part.div_ceil(4)).div_ceil(plan.lanes),
                batches: spec.batch as u32,
                channels: spec.channels as u32,
                first,
                part,
                length: spec.length as u32,
                shares,
            };
            let mut buffers = inputs.buffers(gpu).to_vec();
            buffers.extend([y.buffer(), last.buffer()]);
            buffers.extend(inputs.sequences());
            kernel.dispatch(gpu, encoder, &params, &buffers)?;
        }
        Ok(())
    }

    /// Allocates the outputs, records the convolution and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: Conv1dInputs<'_, T>) -> Result<Conv1dOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// Tensors in which the channels lie, (batch, length, part) each, with the first channel of each. Fails if they are not all
/// channels of the spec.
fn places<'a, T: Element>(
    gpu: &Gpu,
    spec: &Conv1dSpec,
    name: &'static str,
    parts: &[&'a Tensor<T>],
) -> Result<Vec<(u32, &'a Tensor<T>)>, Error> {
    let (mut first, mut placed) = (0, Vec::with_capacity(parts.len()));
    for &part in parts {
        // The last tensor has the channels that are left.
        let left = spec.channels - first;
        let channels = if placed.len() + 1 == parts.len() {
            left
        } else {
            part.shape().last().map_or(0, |&channels| channels.min(left))
        };
        part.expect(gpu, name, spec.dtype, &spec.shape_of(channels))?;
        placed.push((first as u32, part));
        first += channels;
    }
    Ok(placed)
}

/// Gradients of a [`Conv1d`], of the shapes of what they belong to.
#[derive(Clone, Debug)]
pub struct Conv1dGradients<T> {
    /// Of `x`.
    pub dx: Tensor<T>,
    /// Of `weight`.
    pub dweight: Tensor<f32>,
    /// Of `bias`, if the spec has one.
    pub dbias: Option<Tensor<f32>>,
    /// Of the initial state, if the spec has one.
    pub dinitial: Option<Tensor<f32>>,
}

impl<T: Element> Conv1dGradients<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &Conv1dSpec) -> Result<Self, Error> {
        let optional = |on: bool, shape: &[usize]| on.then(|| Tensor::zeros(gpu, shape)).transpose();
        Ok(Self {
            dx: Tensor::zeros(gpu, &spec.shape())?,
            dweight: Tensor::zeros(gpu, &spec.weight_shape())?,
            dbias: optional(spec.bias, &spec.bias_shape())?,
            dinitial: optional(spec.initial, &spec.state_shape())?,
        })
    }

    pub(crate) fn check(&self, gpu: &Gpu, spec: &Conv1dSpec) -> Result<(), Error> {
        self.dx.expect(gpu, "dx", spec.dtype, &spec.shape())?;
        self.dweight.expect(gpu, "dweight", DType::F32, &spec.weight_shape())?;
        expect_optional(gpu, self.dbias.as_ref(), "dbias", spec.bias, &spec.bias_shape())?;
        let state = "the gradient of the initial state";
        expect_optional(gpu, self.dinitial.as_ref(), state, spec.initial, &spec.state_shape())
    }
}

/// The backward pass of a [`Conv1d`]: it computes the sums before the activation again, so that nothing has to be kept
/// of the forward pass. Gradients of parameters are summed in a fixed order and repeatable bit by bit.
#[derive(Clone, Debug)]
pub struct Conv1dBackward {
    gpu: Gpu,
    spec: Conv1dSpec,
    plan: Conv1dBackwardPlan,
    backward: Kernel,
    sum: Kernel,
    scratch: Scratch,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(plan: &Conv1dBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    let forward = &plan.forward;
    let backward = row_linker(forward.backward_kernel(), forward)
        .tensor("dy", forward.storage)
        .tensor("dx", forward.storage);
    let backward = if forward.channels_last {
        backward
    } else {
        backward
            .module("common/lane_workgroup")
            .module("common/reduce_workgroup")
            .set("REDUCE_LANES", forward.lanes)
            .set("QUADS", forward.quads)
    };
    Ok(vec![backward.link()?, sum_terms::shader(plan.sum, Storage::F32)?])
}

impl Conv1dBackward {
    /// Plans the spec's backward pass for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the
    /// spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: Conv1dSpec) -> Result<Self, Error> {
        Self::in_parts(gpu, spec, &[spec.channels])
    }

    /// The same where the channels of `dy` lie in several tensors, so many in each; they lie innermost then.
    pub(crate) fn in_parts(gpu: &Gpu, spec: Conv1dSpec, parts: &[usize]) -> Result<Self, Error> {
        let plan = Conv1dBackwardPlan::in_parts(&spec, parts, gpu.caps())?;
        let [backward, sum] = compile_array(gpu, &backward_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, backward, sum, scratch: Scratch::default() })
    }

    /// How it runs here.
    pub fn plan(&self) -> &Conv1dBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<Conv1dGradients<T>, Error> {
        Conv1dGradients::zeros(&self.gpu, &self.spec)
    }

    /// Records the gradients for `dy`, those of the outputs, into an encoder of the same device. Fails like
    /// [`Conv1d::encode`], and if scratch cannot be allocated; clones of the op share its scratch.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &Conv1dGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, .. } = self;
        if spec.channels_last {
            return self.encode_parts(encoder, inputs, &[dy], gradients);
        }
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        let parts = &self.scratch.tensors(gpu, &[&[plan.partials(spec)]])?[0];
        let [first_bias, first_state] = self.places();
        let params = BackwardParams {
            groups: spec.rows() as u32 * plan.chunks,
            channels: spec.channels as u32,
            length: spec.length as u32,
            chunk: plan.chunk,
            chunks: plan.chunks,
            first_bias: first_bias as u32,
            first_state: first_state as u32,
        };
        let mut buffers = inputs.buffers(gpu).to_vec();
        buffers.extend([dy.buffer(), gradients.dx.buffer(), parts.buffer()]);
        buffers.extend(inputs.sequences());
        self.backward.dispatch(gpu, encoder, &params, &buffers)?;
        self.encode_sums(encoder, gradients)
    }

    /// Where the parts of the gradient of the bias begin, and where that of the initial state does.
    fn places(&self) -> [usize; 2] {
        let Self { spec, plan, .. } = self;
        let count = plan.terms(spec) * spec.channels;
        [count * spec.width, count * (spec.width + 1)]
    }

    /// Records the gradients of a convolution whose channels lie innermost, those of `dy` in several tensors.
    pub(crate) fn encode_parts<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dInputs<'_, T>,
        dy: &[&Tensor<T>],
        gradients: &Conv1dGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, .. } = self;
        inputs.check(gpu, spec)?;
        gradients.check(gpu, spec)?;
        let parts = &self.scratch.tensors(gpu, &[&[plan.partials(spec)]])?[0];
        let [first_bias, first_state] = self.places();
        if inputs.sequences.is_some_and(|sequences| !sequences.empty.is_empty()) {
            // Nothing follows from the state of a sequence of no steps.
            encoder.clear_buffer(parts.buffer(), 4 * first_state as u64, None);
        }
        for (first, dy) in places(gpu, spec, "dy", dy)? {
            let part = dy.shape()[2] as u32;
            let lanes = spec.batch as u32 * plan.chunks * part.div_ceil(4);
            let params = LastBackwardParams {
                groups: lanes.div_ceil(plan.forward.lanes),
                batches: spec.batch as u32,
                channels: spec.channels as u32,
                first,
                part,
                length: spec.length as u32,
                chunk: plan.chunk,
                chunks: plan.chunks,
                first_bias: first_bias as u32,
                first_state: first_state as u32,
            };
            let mut buffers = inputs.buffers(gpu).to_vec();
            buffers.extend([dy.buffer(), gradients.dx.buffer(), parts.buffer()]);
            buffers.extend(inputs.sequences());
            self.backward.dispatch(gpu, encoder, &params, &buffers)?;
        }
        self.encode_sums(encoder, gradients)
    }

    /// Records the sums of what workgroups left apart.
    fn encode_sums<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        gradients: &Conv1dGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, .. } = self;
        let count = plan.terms(spec);
        let parts = &self.scratch.tensors(gpu, &[&[plan.partials(spec)]])?[0];
        let [first_bias, first_state] = self.places();
        let mut sum = |first: usize, count: usize, sums: &Tensor<f32>| {
            let terms = Terms { first, count, inner: sums.len() };
            sum_terms::encode(gpu, encoder, (&self.sum, plan.sum), (parts, terms), sums)
        };
        sum(0, count, &gradients.dweight)?;
        gradients.dbias.as_ref().map_or(Ok(()), |dbias| sum(first_bias, count, dbias))?;
        gradients.dinitial.as_ref().map_or(Ok(()), |dinitial| sum(first_state, 1, dinitial))
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: Conv1dInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<Conv1dGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dy, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// Inputs of a [`Conv1dStep`].
#[derive(Clone, Copy, Debug)]
pub struct Conv1dStepInputs<'a, T> {
    /// One input a row, of shape (batch, channels).
    pub x: &'a Tensor<T>,
    /// Taps.
    pub weight: &'a Tensor<f32>,
    /// Terms added to every output of a channel, if the spec has them.
    pub bias: Option<&'a Tensor<f32>>,
}

/// One step of a convolution at a time, as decoding takes them: the same arithmetic as [`Conv1d`], bit by bit.
///
/// The state is a circular buffer of the last inputs. What a [`Conv1d`] leaves as its last state, or zeros, is the state
/// before step 0; step `n` then reads and writes it in place.
#[derive(Clone, Debug)]
pub struct Conv1dStep {
    gpu: Gpu,
    spec: Conv1dSpec,
    plan: Conv1dStepPlan,
    kernel: Kernel,
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn step_shaders(plan: &Conv1dStepPlan) -> Result<Vec<Shader>, ShaderError> {
    let step = Linker::new("scan/conv1d_step")
        .module("common/activation")
        .module("scan/conv1d_taps")
        .set("LANES", plan.lanes)
        .set("WIDTH", plan.width)
        .set("SILU", plan.silu)
        .set("HAS_BIAS", plan.bias)
        .tensor("x", plan.storage)
        .tensor("y", plan.storage);
    Ok(vec![step.link()?])
}

impl Conv1dStep {
    /// Plans a step for this GPU and compiles what the plan needs; the spec's length, sequences and initial state mean
    /// nothing to it. Fails with [`Error::Plan`] if the spec is wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: Conv1dSpec) -> Result<Self, Error> {
        let plan = Conv1dStepPlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &step_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec: Conv1dStepPlan::of_steps(&spec), plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &Conv1dStepPlan {
        &self.plan
    }

    /// A tensor for one output a row. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &[self.spec.batch, self.spec.channels])
    }

    /// Records step `n` after the state was made, counted from 0. Fails like [`Conv1d::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dStepInputs<'_, T>,
        state: &Tensor<f32>,
        n: usize,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        y.expect(&self.gpu, "y", self.spec.dtype, &[self.spec.batch, self.spec.channels])?;
        self.encode_parts(encoder, inputs, state, n, &[(self.spec.channels, y.buffer())])
    }

    /// Records a step whose outputs lie in several buffers, (batch, part) each.
    pub(crate) fn encode_parts<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dStepInputs<'_, T>,
        state: &Tensor<f32>,
        n: usize,
        parts: &[(usize, &wgpu::Buffer)],
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        inputs.x.expect(gpu, "x", spec.dtype, &[spec.batch, spec.channels])?;
        check_parameters(gpu, spec, inputs.weight, inputs.bias)?;
        state.expect(gpu, "the state", DType::F32, &spec.state_shape())?;
        let bias = inputs.bias.map_or(gpu.unused(), Tensor::buffer);
        let mut first = 0;
        for &(part, y) in parts {
            let rows = (spec.batch * part) as u32;
            let params = StepParams {
                groups: rows.div_ceil(4 * plan.lanes),
                rows,
                channels: spec.channels as u32,
                first,
                part: part as u32,
                oldest: (n % (spec.width - 1)) as u32,
            };
            let buffers = [inputs.x.buffer(), inputs.weight.buffer(), bias, state.buffer(), y];
            kernel.dispatch(gpu, encoder, &params, &buffers)?;
            first += part as u32;
        }
        Ok(())
    }

    /// Allocates the output, records the step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: Conv1dStepInputs<'_, T>,
        state: &Tensor<f32>,
        n: usize,
    ) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, state, n, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }
}
