//! The core of a Mamba-2 block, its gradients and its steps.

use super::h3::between;
use super::mamba::{MambaOutputs, MambaStates};
use crate::ops::{
    Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dStep, Conv1dStepInputs, Scratch,
    SequenceIndices, Ssd, SsdBackward, SsdGradients, SsdInputs, SsdOutputGradients, SsdOutputs, SsdStep,
};
use crate::{Element, Error, Gpu, Mamba2Spec, Sequences, SsdSpec, Tensor};

/// Inputs of a [`Mamba2`]; shapes as in [`Mamba2Spec`].
#[derive(Clone, Copy, Debug)]
pub struct Mamba2Inputs<'a, T> {
    /// What is convolved: `x`, `B` and `C` side by side.
    pub xbc: &'a Tensor<T>,
    /// Taps of the convolution.
    pub weight: &'a Tensor<f32>,
    /// The convolution's bias, if the spec has it.
    pub bias: Option<&'a Tensor<f32>>,
    /// Inputs before the first step, if the spec has initial states.
    pub conv_initial: Option<&'a Tensor<f32>>,
    /// Discretisation steps, before bias, softplus and limits.
    pub dt: &'a Tensor<T>,
    /// What the logarithms of decays are, a unit of `dt`.
    pub a: &'a Tensor<f32>,
    /// The factor with which `x` skips the recurrence, if the spec has one.
    pub d: Option<&'a Tensor<f32>>,
    /// The gate, if the spec has one.
    pub z: Option<&'a Tensor<T>>,
    /// The bias of `dt`, if the spec has one.
    pub dt_bias: Option<&'a Tensor<f32>>,
    /// States before the first steps, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

impl<'a, T: Element> Mamba2Inputs<'a, T> {
    fn conv(&self, sequences: Option<&'a SequenceIndices>) -> Conv1dInputs<'a, T> {
        let Self { xbc, weight, bias, conv_initial, .. } = *self;
        Conv1dInputs { x: xbc, weight, bias, sequences, initial: conv_initial }
    }

    /// The recurrence of what the convolution gave.
    fn ssd<'b>(&self, [x, b, c]: [&'b Tensor<T>; 3]) -> SsdInputs<'b, T>
    where
        'a: 'b,
    {
        let Self { dt, a, d, z, dt_bias, initial, .. } = *self;
        SsdInputs { x, dt, a, b, c, d, z, dt_bias, initial }
    }
}

/// Gradients of a [`Mamba2`].
#[derive(Clone, Debug)]
pub struct Mamba2Gradients<T> {
    /// Of `xbc`, the taps, the convolution's bias and the inputs before the first step.
    pub conv: Conv1dGradients<T>,
    /// Of what the recurrence reads; those of `x`, `b` and `c` are of what the convolution gave.
    pub ssd: SsdGradients<T>,
}

/// The convolution in front of a recurrence, whose channels go into three tensors.
#[derive(Clone, Debug)]
struct Front {
    gpu: Gpu,
    spec: Mamba2Spec,
    conv: Conv1d,
    sequences: Option<SequenceIndices>,
    between: [Scratch; 3],
}

impl Front {
    fn new(gpu: &Gpu, spec: Mamba2Spec) -> Result<Self, Error> {
        spec.check().map_err(crate::PlanError::from)?;
        let conv = Conv1d::in_parts(gpu, spec.conv(), &spec.parts())?;
        let sequences = sequences(gpu, &spec)?;
        Ok(Self { gpu: gpu.clone(), spec, conv, sequences, between: Default::default() })
    }

    /// Records the convolution, and returns `x`, `B` and `C` as the recurrence wants them.
    fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: &Mamba2Inputs<'_, T>,
        last: &Tensor<f32>,
    ) -> Result<[Tensor<T>; 3], Error> {
        let ssd = &self.spec.ssd;
        let tensor = |i: usize, shape: &[usize]| between::<T>(&self.gpu, &self.between[i], shape);
        let shaped = [tensor(0, &ssd.x_shape())?, tensor(1, &ssd.b_shape())?, tensor(2, &ssd.b_shape())?];
        let parts = self.as_parts(shaped.each_ref())?;
        let conv = inputs.conv(self.sequences.as_ref());
        self.conv.encode_parts(encoder, conv, &parts.each_ref(), last)?;
        Ok(shaped)
    }

    /// Tensors of heads, or of groups, as tensors of channels.
    fn as_parts<T: Element>(&self, [x, b, c]: [&Tensor<T>; 3]) -> Result<[Tensor<T>; 3], Error> {
        let [of_x, of_b, of_c] = self.spec.parts();
        let view = |tensor: &Tensor<T>, channels| {
            let shape = self.spec.conv().shape_of(channels);
            Tensor::from_buffer(&self.gpu, tensor.buffer().clone(), &shape)
        };
        Ok([view(x, of_x)?, view(b, of_b)?, view(c, of_c)?])
    }
}

/// The recurrence's sequences for the convolution; those that indices name are counted from 0.
fn sequences(gpu: &Gpu, spec: &Mamba2Spec) -> Result<Option<SequenceIndices>, Error> {
    let SsdSpec { batch, length, ref sequences, .. } = spec.ssd;
    match sequences {
        Sequences::Whole => Ok(None),
        Sequences::Packed(starts) => SequenceIndices::packed(gpu, length, starts).map(Some),
        Sequences::Indexed(indices) => {
            let mut sequence = 0;
            let counted = indices.iter().enumerate().map(|(i, index)| {
                sequence += i32::from(i > 0 && *index != indices[i - 1]);
                sequence
            });
            let counted: Vec<_> = counted.collect();
            SequenceIndices::new(gpu, [batch, length], &counted).map(Some)
        }
    }
}

/// The core of a Mamba-2 block: a convolution with silu over `x`, `B` and `C`, and state-space duality with the gate fused.
#[derive(Clone, Debug)]
pub struct Mamba2 {
    front: Front,
    ssd: Ssd,
}

impl Mamba2 {
    /// Plans the spec for this GPU and compiles what the plans need. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: Mamba2Spec) -> Result<Self, Error> {
        let ssd = spec.ssd.clone();
        Ok(Self { front: Front::new(gpu, spec)?, ssd: Ssd::new(gpu, ssd)? })
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<MambaOutputs<T>, Error> {
        let Front { gpu, spec, .. } = &self.front;
        let SsdOutputs { out, last } = self.ssd.outputs()?;
        Ok(MambaOutputs { out, conv_last: Tensor::zeros(gpu, &spec.conv().state_shape())?, last })
    }

    /// Records the core into an encoder of the same device. Fails like [`Ssd::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Mamba2Inputs<'_, T>,
        outputs: &MambaOutputs<T>,
    ) -> Result<(), Error> {
        let convolved = self.front.encode(encoder, &inputs, &outputs.conv_last)?;
        let results = SsdOutputs { out: outputs.out.clone(), last: outputs.last.clone() };
        self.ssd.encode(encoder, inputs.ssd(convolved.each_ref()), &results)
    }

    /// Allocates the outputs, records the core and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: Mamba2Inputs<'_, T>) -> Result<MambaOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.front.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.front.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// The gradients of a [`Mamba2`]. What the convolution gave is computed again.
#[derive(Clone, Debug)]
pub struct Mamba2Backward {
    front: Front,
    conv: Conv1dBackward,
    ssd: SsdBackward,
    last: Scratch,
}

impl Mamba2Backward {
    /// Plans the spec's gradients for this GPU and compiles what the plans need. Fails like [`Mamba2::new`].
    pub fn new(gpu: &Gpu, spec: Mamba2Spec) -> Result<Self, Error> {
        let (conv, parts, ssd) = (spec.conv(), spec.parts(), spec.ssd.clone());
        Ok(Self {
            front: Front::new(gpu, spec)?,
            conv: Conv1dBackward::in_parts(gpu, conv, &parts)?,
            ssd: SsdBackward::new(gpu, ssd)?,
            last: Scratch::default(),
        })
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<Mamba2Gradients<T>, Error> {
        Ok(Mamba2Gradients { conv: self.conv.gradients()?, ssd: self.ssd.gradients()? })
    }

    /// Records the gradients of a loss, given those by the results, into an encoder of the same device. Fails like
    /// [`Ssd::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Mamba2Inputs<'_, T>,
        of: SsdOutputGradients<'_, T>,
        gradients: &Mamba2Gradients<T>,
    ) -> Result<(), Error> {
        let front = &self.front;
        let last = &self.last.tensors(&front.gpu, &[&front.spec.conv().state_shape()])?[0];
        let convolved = front.encode(encoder, &inputs, last)?;
        self.ssd.encode(encoder, inputs.ssd(convolved.each_ref()), of, &gradients.ssd)?;
        let SsdGradients { x, b, c, .. } = &gradients.ssd;
        let dy = front.as_parts([x, b, c])?;
        let conv = inputs.conv(front.sequences.as_ref());
        self.conv.encode_parts(encoder, conv, &dy.each_ref(), &gradients.conv)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: Mamba2Inputs<'_, T>,
        of: SsdOutputGradients<'_, T>,
    ) -> Result<Mamba2Gradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.front.gpu.encoder();
        self.encode(&mut encoder, inputs, of, &gradients)?;
        self.front.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// A [`Mamba2`] a step at a time: for decoding. A prefill followed by steps is one longer prefill.
///
/// Tensors are those of a step, (batch, channels) for `xbc` and as in [`SsdStep`] for the rest; inputs hold no initial
/// states, and the spec's length and chunk mean nothing. Of packed sequences each is a batch of a step.
#[derive(Clone, Debug)]
pub struct Mamba2Step {
    gpu: Gpu,
    spec: Mamba2Spec,
    conv: Conv1dStep,
    ssd: SsdStep,
    between: [Scratch; 3],
}

impl Mamba2Step {
    /// Plans a step for this GPU and compiles what the plans need. Fails like [`Mamba2::new`].
    pub fn new(gpu: &Gpu, spec: Mamba2Spec) -> Result<Self, Error> {
        spec.check().map_err(crate::PlanError::from)?;
        let (conv, ssd) = (Conv1dStep::new(gpu, spec.conv())?, SsdStep::new(gpu, spec.ssd.clone())?);
        Ok(Self { gpu: gpu.clone(), spec, conv, ssd, between: Default::default() })
    }

    /// The states before any step. Fails if the device has no memory for them.
    pub fn states(&self) -> Result<MambaStates, Error> {
        let zeros = |shape: &[usize]| Tensor::zeros(&self.gpu, shape);
        let (conv, ssd) = (self.spec.conv().state_shape(), self.spec.ssd.state_shape());
        Ok(MambaStates { conv: zeros(&conv)?, recurrence: zeros(&ssd)?, steps: 0 })
    }

    /// A tensor for the result of a step, (batch, heads, `head_dim`). Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.ssd.x_shape())
    }

    /// Records a step into an encoder of the same device: its result, and the states after it. Fails like
    /// [`SsdStep::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Mamba2Inputs<'_, T>,
        states: &mut MambaStates,
        out: &Tensor<T>,
    ) -> Result<(), Error> {
        if inputs.conv_initial.is_some() {
            return Err(Error::Presence { tensor: "the inputs before the first step", expected: false });
        }
        let tensor = |i: usize, shape: &[usize]| between::<T>(&self.gpu, &self.between[i], shape);
        let (x_shape, b_shape) = (self.ssd.x_shape(), self.ssd.b_shape());
        let xbc = [tensor(0, &x_shape)?, tensor(1, &b_shape)?, tensor(2, &b_shape)?];
        let channels = self.spec.parts();
        let parts = [0, 1, 2].map(|i| (channels[i], xbc[i].buffer()));
        let sample = Conv1dStepInputs { x: inputs.xbc, weight: inputs.weight, bias: inputs.bias };
        self.conv.encode_parts(encoder, sample, &states.conv, states.steps, &parts)?;
        self.ssd.encode(encoder, inputs.ssd(xbc.each_ref()), &states.recurrence, out)?;
        states.steps += 1;
        Ok(())
    }

    /// Allocates the result, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: Mamba2Inputs<'_, T>,
        states: &mut MambaStates,
    ) -> Result<Tensor<T>, Error> {
        let out = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, states, &out)?;
        self.gpu.submit(encoder)?;
        Ok(out)
    }
}
