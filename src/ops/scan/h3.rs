//! H3.

use crate::ops::{
    LongConv, LongConvBackward, LongConvGradients, LongConvInputs, LongConvStep, S4d, S4dBackward,
    S4dGradients, S4dInputs, S4dStep, Scratch,
};
use crate::spec::{H3Spec, S4dParameters};
use crate::{DType, Element, Error, Gpu, Tensor};

/// Inputs of an [`H3`]; shapes as in [`H3Spec`]. In a step `q`, `k` and `v` are (batch, channels).
#[derive(Clone, Copy, Debug)]
pub struct H3Inputs<'a, T> {
    /// The gate of the result.
    pub q: &'a Tensor<T>,
    /// What is shifted.
    pub k: &'a Tensor<T>,
    /// The gate of what was shifted.
    pub v: &'a Tensor<T>,
    /// Kernels of the shift.
    pub shift: &'a Tensor<f32>,
    /// `D_k`.
    pub shift_skip: &'a Tensor<f32>,
    /// The discretized parameters of the diagonal model, as [`H3::modes`] makes them.
    pub modes: &'a Tensor<f32>,
    /// `D`.
    pub skip: &'a Tensor<f32>,
}

impl<'a, T: Element> H3Inputs<'a, T> {
    fn shifted(&self) -> LongConvInputs<'a, T> {
        let Self { k, v, shift, shift_skip, .. } = *self;
        LongConvInputs { u: k, k: shift, skip: Some(shift_skip), pre: None, post: Some(v) }
    }

    /// The diagonal model on what the shift gave.
    fn diagonal<'b>(&self, shifted: &'b Tensor<T>) -> S4dInputs<'b, T>
    where
        'a: 'b,
    {
        let Self { q, modes, skip, .. } = *self;
        S4dInputs { u: shifted, modes, skip: Some(skip), pre: None, post: Some(q) }
    }
}

/// Gradients of an [`H3`], each of the shape and type of what it belongs to.
#[derive(Clone, Debug)]
pub struct H3Gradients<T> {
    /// Of `q`.
    pub dq: Tensor<T>,
    /// Of `k`.
    pub dk: Tensor<T>,
    /// Of `v`.
    pub dv: Tensor<T>,
    /// Of the shift's kernels.
    pub dshift: Tensor<f32>,
    /// Of `D_k`.
    pub dshift_skip: Tensor<f32>,
    /// What [`S4dParameters::gradients`] makes those of the diagonal model's parameters of.
    pub dmodes: Tensor<f32>,
    /// Of `D`.
    pub dskip: Tensor<f32>,
}

/// Sequences between the parts of a layer, in scratch.
pub(super) fn between<T: Element>(gpu: &Gpu, scratch: &Scratch, shape: &[usize]) -> Result<Tensor<T>, Error> {
    let bytes = shape.iter().product::<usize>() * T::DTYPE.bytes();
    let tensors = scratch.tensors(gpu, &[&[bytes.div_ceil(DType::F32.bytes())]])?;
    Tensor::from_buffer(gpu, tensors[0].buffer().clone(), shape)
}

/// H3: two long convolutions with their gates fused.
#[derive(Clone, Debug)]
pub struct H3 {
    gpu: Gpu,
    spec: H3Spec,
    shift: LongConv,
    diagonal: S4d,
    scratch: Scratch,
}

impl H3 {
    /// Plans the spec for this GPU and compiles what the plans need. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: H3Spec) -> Result<Self, Error> {
        let (shift, diagonal) = (LongConv::new(gpu, spec.shift_conv())?, S4d::new(gpu, spec.diagonal())?);
        Ok(Self { gpu: gpu.clone(), spec, shift, diagonal, scratch: Scratch::default() })
    }

    /// Discretizes the diagonal model's parameters. Fails if they are not as many as the spec says.
    pub fn modes(&self, parameters: &S4dParameters) -> Result<Tensor<f32>, Error> {
        self.diagonal.modes(parameters)
    }

    /// A tensor for the output. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        self.diagonal.outputs()
    }

    /// Records the layer into an encoder of the same device. Fails like [`LongConv::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: H3Inputs<'_, T>,
        out: &Tensor<T>,
    ) -> Result<(), Error> {
        let shifted = between(&self.gpu, &self.scratch, &self.spec.shape())?;
        self.shift.encode(encoder, inputs.shifted(), &shifted)?;
        self.diagonal.encode(encoder, inputs.diagonal(&shifted), out)
    }

    /// Allocates the output, records the layer and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: H3Inputs<'_, T>) -> Result<Tensor<T>, Error> {
        let out = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &out)?;
        self.gpu.submit(encoder)?;
        Ok(out)
    }
}

/// The gradients of an [`H3`]. What the shift gave is computed again.
#[derive(Clone, Debug)]
pub struct H3Backward {
    gpu: Gpu,
    spec: H3Spec,
    shift: LongConv,
    shift_backward: LongConvBackward,
    diagonal: S4dBackward,
    shifted: Scratch,
    dshifted: Scratch,
}

impl H3Backward {
    /// Plans the spec's gradients for this GPU and compiles what the plans need. Fails like [`H3::new`].
    pub fn new(gpu: &Gpu, spec: H3Spec) -> Result<Self, Error> {
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            shift: LongConv::new(gpu, spec.shift_conv())?,
            shift_backward: LongConvBackward::new(gpu, spec.shift_conv())?,
            diagonal: S4dBackward::new(gpu, spec.diagonal())?,
            shifted: Scratch::default(),
            dshifted: Scratch::default(),
        })
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<H3Gradients<T>, Error> {
        let H3Spec { channels, shift, pairs, .. } = self.spec;
        let sequences = || Tensor::zeros(&self.gpu, &self.spec.shape());
        let zeros = |shape: &[usize]| Tensor::zeros(&self.gpu, shape);
        Ok(H3Gradients {
            dq: sequences()?,
            dk: sequences()?,
            dv: sequences()?,
            dshift: zeros(&[channels, shift])?,
            dshift_skip: zeros(&[channels])?,
            dmodes: zeros(&[channels, pairs, 2, 2])?,
            dskip: zeros(&[channels])?,
        })
    }

    /// Records the gradients of a loss, given its gradient by the output, into an encoder of the same device. Fails like
    /// [`LongConv::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: H3Inputs<'_, T>,
        dout: &Tensor<T>,
        gradients: &H3Gradients<T>,
    ) -> Result<(), Error> {
        let shape = self.spec.shape();
        let shifted = between(&self.gpu, &self.shifted, &shape)?;
        let dshifted: Tensor<T> = between(&self.gpu, &self.dshifted, &shape)?;
        let H3Gradients { dq, dk, dv, dshift, dshift_skip, dmodes, dskip } = gradients.clone();
        self.shift.encode(encoder, inputs.shifted(), &shifted)?;
        let of_diagonal =
            S4dGradients { du: dshifted.clone(), dmodes, dskip: Some(dskip), dpre: None, dpost: Some(dq) };
        self.diagonal.encode(encoder, inputs.diagonal(&shifted), dout, &of_diagonal)?;
        let of_shift =
            LongConvGradients { du: dk, dk: dshift, dskip: Some(dshift_skip), dpre: None, dpost: Some(dv) };
        self.shift_backward.encode(encoder, inputs.shifted(), &dshifted, &of_shift)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: H3Inputs<'_, T>,
        dout: &Tensor<T>,
    ) -> Result<H3Gradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dout, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// What an [`H3Step`] remembers.
#[derive(Clone, Debug)]
pub struct H3States {
    /// The last samples of `k`, (batch, channels, shift).
    pub history: Tensor<f32>,
    /// States of the diagonal model, (batch, channels, pairs, 2).
    pub states: Tensor<f32>,
    /// How many samples there were.
    pub time: u32,
}

/// An [`H3`] a sample at a time: for decoding. A prefill followed by steps is one sequence. The spec's length is that of
/// the prefill.
#[derive(Clone, Debug)]
pub struct H3Step {
    gpu: Gpu,
    spec: H3Spec,
    prefill: LongConv,
    shift: LongConvStep,
    diagonal: S4dStep,
    sequences: Scratch,
    samples: Scratch,
}

impl H3Step {
    /// Plans the spec's steps for this GPU and compiles what the plans need. Fails like [`H3::new`].
    pub fn new(gpu: &Gpu, spec: H3Spec) -> Result<Self, Error> {
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            prefill: LongConv::new(gpu, spec.shift_conv())?,
            shift: LongConvStep::new(gpu, spec.shift_conv())?,
            diagonal: S4dStep::new(gpu, spec.diagonal())?,
            sequences: Scratch::default(),
            samples: Scratch::default(),
        })
    }

    /// Discretizes the diagonal model's parameters. Fails if they are not as many as the spec says.
    pub fn modes(&self, parameters: &S4dParameters) -> Result<Tensor<f32>, Error> {
        self.diagonal.modes(parameters)
    }

    /// The states before any sample. Fails if the device has no memory for them.
    pub fn states(&self) -> Result<H3States, Error> {
        Ok(H3States { history: self.shift.history()?, states: self.diagonal.states()?, time: 0 })
    }

    /// A tensor for the output of a step, (batch, channels). Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        self.diagonal.outputs()
    }

    /// Records the states that these sequences leave behind, whatever they were. Fails like [`encode`](Self::encode).
    pub fn encode_states<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: H3Inputs<'_, T>,
        states: &mut H3States,
    ) -> Result<(), Error> {
        let shifted = between(&self.gpu, &self.sequences, &self.spec.shape())?;
        self.prefill.encode(encoder, inputs.shifted(), &shifted)?;
        self.shift.encode_history(encoder, inputs.shifted(), &states.history)?;
        self.diagonal.encode_states(encoder, inputs.diagonal(&shifted), &states.states)?;
        states.time = self.spec.length as u32;
        Ok(())
    }

    /// Records a step into an encoder of the same device: the output of one more sample, and the states after it. Fails
    /// like [`LongConvStep::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: H3Inputs<'_, T>,
        states: &mut H3States,
        out: &Tensor<T>,
    ) -> Result<(), Error> {
        let shifted = between(&self.gpu, &self.samples, &[self.spec.batch, self.spec.channels])?;
        self.shift.encode(encoder, inputs.shifted(), states.time, &states.history, &shifted)?;
        self.diagonal.encode(encoder, inputs.diagonal(&shifted), &states.states, out)?;
        states.time += 1;
        Ok(())
    }

    /// Allocates the output, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: H3Inputs<'_, T>,
        states: &mut H3States,
    ) -> Result<Tensor<T>, Error> {
        let out = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, states, &out)?;
        self.gpu.submit(encoder)?;
        Ok(out)
    }
}
