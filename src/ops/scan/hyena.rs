//! Hyena's operator of order 2.

use super::h3::between;
use crate::ops::{
    Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dStep, Conv1dStepInputs,
    LongConv, LongConvBackward, LongConvGradients, LongConvInputs, LongConvStep, Scratch,
};
use crate::spec::HyenaSpec;
use crate::{Element, Error, Gpu, Tensor};

/// A projection and the short convolution that it passes through.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a, T> {
    /// The projection, (batch, channels, length); in a step (batch, channels).
    pub x: &'a Tensor<T>,
    /// Taps, (channels, width).
    pub weight: &'a Tensor<f32>,
    /// Terms added to every output of a channel.
    pub bias: &'a Tensor<f32>,
}

/// Inputs of a [`Hyena`]; shapes as in [`HyenaSpec`].
#[derive(Clone, Copy, Debug)]
pub struct HyenaInputs<'a, T> {
    /// Of the gate of the result, of the gate before the filter, and of what is filtered.
    pub qkv: [Projection<'a, T>; 3],
    /// The filter.
    pub filter: &'a Tensor<f32>,
    /// `D`.
    pub skip: &'a Tensor<f32>,
}

impl<'a, T: Element> HyenaInputs<'a, T> {
    /// The long convolution of what the short ones gave.
    fn long<'b>(&self, [q, k, v]: [&'b Tensor<T>; 3]) -> LongConvInputs<'b, T>
    where
        'a: 'b,
    {
        LongConvInputs { u: v, k: self.filter, skip: Some(self.skip), pre: Some(k), post: Some(q) }
    }
}

impl<'a, T: Element> Projection<'a, T> {
    fn short(&self) -> Conv1dInputs<'a, T> {
        Conv1dInputs { bias: Some(self.bias), ..Conv1dInputs::new(self.x, self.weight) }
    }
}

/// Gradients of a [`Hyena`], each of the shape and type of what it belongs to.
#[derive(Clone, Debug)]
pub struct HyenaGradients<T> {
    /// Of each projection, its taps and its bias.
    pub dqkv: [Conv1dGradients<T>; 3],
    /// Of the filter.
    pub dfilter: Tensor<f32>,
    /// Of `D`.
    pub dskip: Tensor<f32>,
}

/// The projections after their short convolutions, with the states that these leave.
#[derive(Clone, Debug, Default)]
struct Short {
    sequences: [Scratch; 3],
    last: Scratch,
}

impl Short {
    fn encode<T: Element>(
        &self,
        gpu: &Gpu,
        conv: &Conv1d,
        encoder: &mut wgpu::CommandEncoder,
        spec: &HyenaSpec,
        inputs: &HyenaInputs<'_, T>,
    ) -> Result<[Conv1dOutputs<T>; 3], Error> {
        let state = spec.short().state_shape();
        let last = self.last.tensors(gpu, &[&state, &state, &state])?;
        let mut outputs = Vec::with_capacity(3);
        for (i, projection) in inputs.qkv.iter().enumerate() {
            let y = between(gpu, &self.sequences[i], &spec.shape())?;
            let of_one = Conv1dOutputs { y, last: last[i].clone() };
            conv.encode(encoder, projection.short(), &of_one)?;
            outputs.push(of_one);
        }
        Ok(outputs.try_into().expect("three projections"))
    }
}

/// Hyena's operator of order 2: short convolutions, and a long one with both gates fused.
#[derive(Clone, Debug)]
pub struct Hyena {
    gpu: Gpu,
    spec: HyenaSpec,
    short: Conv1d,
    long: LongConv,
    scratch: Short,
}

impl Hyena {
    /// Plans the spec for this GPU and compiles what the plans need. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: HyenaSpec) -> Result<Self, Error> {
        let (short, long) = (Conv1d::new(gpu, spec.short())?, LongConv::new(gpu, spec.long())?);
        Ok(Self { gpu: gpu.clone(), spec, short, long, scratch: Short::default() })
    }

    /// A tensor for `y`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        self.long.outputs()
    }

    /// Records the operator into an encoder of the same device. Fails like [`LongConv::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: HyenaInputs<'_, T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let qkv = self.scratch.encode(&self.gpu, &self.short, encoder, &self.spec, &inputs)?;
        self.long.encode(encoder, inputs.long(qkv.each_ref().map(|one| &one.y)), y)
    }

    /// Allocates `y`, records the operator and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: HyenaInputs<'_, T>) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }
}

/// The gradients of a [`Hyena`]. What the short convolutions gave is computed again.
#[derive(Clone, Debug)]
pub struct HyenaBackward {
    gpu: Gpu,
    spec: HyenaSpec,
    short: Conv1d,
    short_backward: Conv1dBackward,
    long: LongConvBackward,
    scratch: Short,
    gradients: [Scratch; 3],
}

impl HyenaBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plans need. Fails like [`Hyena::new`].
    pub fn new(gpu: &Gpu, spec: HyenaSpec) -> Result<Self, Error> {
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            short: Conv1d::new(gpu, spec.short())?,
            short_backward: Conv1dBackward::new(gpu, spec.short())?,
            long: LongConvBackward::new(gpu, spec.long())?,
            scratch: Short::default(),
            gradients: Default::default(),
        })
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<HyenaGradients<T>, Error> {
        let of_one = || self.short_backward.gradients();
        Ok(HyenaGradients {
            dqkv: [of_one()?, of_one()?, of_one()?],
            dfilter: Tensor::zeros(&self.gpu, &self.spec.long().kernel_shape())?,
            dskip: Tensor::zeros(&self.gpu, &[self.spec.channels])?,
        })
    }

    /// Records the gradients of a loss, given its gradient by `y`, into an encoder of the same device. Fails like
    /// [`LongConv::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: HyenaInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &HyenaGradients<T>,
    ) -> Result<(), Error> {
        let shape = self.spec.shape();
        let between = |i: usize| between::<T>(&self.gpu, &self.gradients[i], &shape);
        let (dq, dk, dv) = (between(0)?, between(1)?, between(2)?);
        let qkv = self.scratch.encode(&self.gpu, &self.short, encoder, &self.spec, &inputs)?;
        let of_long = LongConvGradients {
            du: dv.clone(),
            dk: gradients.dfilter.clone(),
            dskip: Some(gradients.dskip.clone()),
            dpre: Some(dk.clone()),
            dpost: Some(dq.clone()),
        };
        self.long.encode(encoder, inputs.long(qkv.each_ref().map(|one| &one.y)), dy, &of_long)?;
        for ((projection, dy), gradients) in inputs.qkv.iter().zip([&dq, &dk, &dv]).zip(&gradients.dqkv) {
            self.short_backward.encode(encoder, projection.short(), dy, gradients)?;
        }
        Ok(())
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: HyenaInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<HyenaGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dy, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// What a [`HyenaStep`] remembers.
#[derive(Clone, Debug)]
pub struct HyenaStates {
    /// The last samples of each projection.
    short: [Tensor<f32>; 3],
    /// What was filtered, (batch, channels, taps).
    history: Tensor<f32>,
    /// Samples before the steps, and steps.
    prefill: u32,
    steps: u32,
}

/// A [`Hyena`] a sample at a time: for decoding. A prefill followed by steps is one sequence. The spec's length is that of
/// the prefill, and its taps are how far back the filter reaches.
#[derive(Clone, Debug)]
pub struct HyenaStep {
    gpu: Gpu,
    spec: HyenaSpec,
    prefill: Conv1d,
    short: Conv1dStep,
    long: LongConvStep,
    sequences: [Scratch; 3],
    samples: [Scratch; 3],
}

impl HyenaStep {
    /// Plans the spec's steps for this GPU and compiles what the plans need. Fails like [`Hyena::new`].
    pub fn new(gpu: &Gpu, spec: HyenaSpec) -> Result<Self, Error> {
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            prefill: Conv1d::new(gpu, spec.short())?,
            short: Conv1dStep::new(gpu, spec.short())?,
            long: LongConvStep::new(gpu, spec.long())?,
            sequences: Default::default(),
            samples: Default::default(),
        })
    }

    /// The states before any sample. Fails if the device has no memory for them.
    pub fn states(&self) -> Result<HyenaStates, Error> {
        let state = || Tensor::zeros(&self.gpu, &self.spec.short().state_shape());
        let short = [state()?, state()?, state()?];
        Ok(HyenaStates { short, history: self.long.history()?, prefill: 0, steps: 0 })
    }

    /// A tensor for the output of a step, (batch, channels). Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        self.long.outputs()
    }

    /// Records the states that these sequences leave behind, whatever they were. Fails like [`encode`](Self::encode).
    pub fn encode_states<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: HyenaInputs<'_, T>,
        states: &mut HyenaStates,
    ) -> Result<(), Error> {
        let shape = self.spec.shape();
        let between = |i: usize| between::<T>(&self.gpu, &self.sequences[i], &shape);
        let qkv = [between(0)?, between(1)?, between(2)?];
        for (i, projection) in inputs.qkv.iter().enumerate() {
            let outputs = Conv1dOutputs { y: qkv[i].clone(), last: states.short[i].clone() };
            self.prefill.encode(encoder, projection.short(), &outputs)?;
        }
        self.long.encode_history(encoder, inputs.long(qkv.each_ref()), &states.history)?;
        (states.prefill, states.steps) = (self.spec.length as u32, 0);
        Ok(())
    }

    /// Records a step into an encoder of the same device: the output of one more sample, and the states after it. Fails
    /// like [`LongConvStep::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: HyenaInputs<'_, T>,
        states: &mut HyenaStates,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let shape = [self.spec.batch, self.spec.channels];
        let between = |i: usize| between::<T>(&self.gpu, &self.samples[i], &shape);
        let qkv = [between(0)?, between(1)?, between(2)?];
        for (i, Projection { x, weight, bias }) in inputs.qkv.into_iter().enumerate() {
            let sample = Conv1dStepInputs { x, weight, bias: Some(bias) };
            self.short.encode(encoder, sample, &states.short[i], states.steps as usize, &qkv[i])?;
        }
        let time = states.prefill + states.steps;
        self.long.encode(encoder, inputs.long(qkv.each_ref()), time, &states.history, y)?;
        states.steps += 1;
        Ok(())
    }

    /// Allocates the output, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: HyenaInputs<'_, T>,
        states: &mut HyenaStates,
    ) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, states, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }
}
