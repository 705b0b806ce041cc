//! The core of a Mamba block, its gradients and its steps.

use super::h3::between;
use crate::ops::{
    CoefficientTensor, Conv1d, Conv1dBackward, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dStep,
    Conv1dStepInputs, Scratch, SelectiveScan, SelectiveScanBackward, SelectiveScanGradients,
    SelectiveScanInputs, SelectiveScanOutputs, SelectiveScanStep,
};
use crate::{Element, Error, Gpu, MambaSpec, Tensor};

/// Inputs of a [`Mamba`]; shapes as in [`MambaSpec`].
#[derive(Clone, Copy, Debug)]
pub struct MambaInputs<'a, T> {
    /// What is convolved and then scanned.
    pub x: &'a Tensor<T>,
    /// Taps of the convolution.
    pub weight: &'a Tensor<f32>,
    /// The convolution's bias, if the spec has it.
    pub bias: Option<&'a Tensor<f32>>,
    /// Inputs before the first step, if the spec has initial states.
    pub conv_initial: Option<&'a Tensor<f32>>,
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

impl<'a, T: Element> MambaInputs<'a, T> {
    fn conv(&self) -> Conv1dInputs<'a, T> {
        let Self { x, weight, bias, conv_initial, .. } = *self;
        Conv1dInputs { x, weight, bias, sequences: None, initial: conv_initial }
    }

    /// The scan of what the convolution gave.
    fn scan<'b>(&self, u: &'b Tensor<T>) -> SelectiveScanInputs<'b, T>
    where
        'a: 'b,
    {
        let Self { delta, a, b, c, skip, z, delta_bias, initial, .. } = *self;
        SelectiveScanInputs { u, delta, a, b, c, skip, z, delta_bias, initial }
    }
}

/// Outputs of a [`Mamba`] or a [`Mamba2`](crate::Mamba2); shapes as in their specs.
#[derive(Clone, Debug)]
pub struct MambaOutputs<T> {
    /// The gated result of every step.
    pub out: Tensor<T>,
    /// The convolution's inputs of the last steps.
    pub conv_last: Tensor<f32>,
    /// The states after the last steps.
    pub last: Tensor<f32>,
}

impl<T> MambaOutputs<T> {
    /// The states from which steps go on. They share these tensors' memory, and steps write it.
    pub fn states(&self) -> MambaStates {
        MambaStates { conv: self.conv_last.clone(), recurrence: self.last.clone(), steps: 0 }
    }
}

/// What the steps of a core remember.
#[derive(Clone, Debug)]
pub struct MambaStates {
    /// The convolution's last inputs, in a circular buffer.
    pub(super) conv: Tensor<f32>,
    /// The states of the recurrence.
    pub(super) recurrence: Tensor<f32>,
    /// Steps taken.
    pub(super) steps: usize,
}

impl MambaStates {
    /// The states of the recurrence.
    pub fn recurrence(&self) -> &Tensor<f32> {
        &self.recurrence
    }
}

/// Gradients of a [`Mamba`].
#[derive(Clone, Debug)]
pub struct MambaGradients<T> {
    /// Of `x`, the taps, the convolution's bias and the inputs before the first step.
    pub conv: Conv1dGradients<T>,
    /// Of what the scan reads; `du` is of what the convolution gave.
    pub scan: SelectiveScanGradients<T>,
}

/// The core of a Mamba block: a convolution with silu, and a selective scan with the gate fused.
#[derive(Clone, Debug)]
pub struct Mamba {
    gpu: Gpu,
    spec: MambaSpec,
    conv: Conv1d,
    scan: SelectiveScan,
    scratch: Scratch,
}

impl Mamba {
    /// Plans the spec for this GPU and compiles what the plans need. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: MambaSpec) -> Result<Self, Error> {
        let (conv, scan) = (Conv1d::new(gpu, spec.conv())?, SelectiveScan::new(gpu, spec.scan)?);
        Ok(Self { gpu: gpu.clone(), spec, conv, scan, scratch: Scratch::default() })
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<MambaOutputs<T>, Error> {
        let SelectiveScanOutputs { out, last } = self.scan.outputs()?;
        Ok(MambaOutputs { out, conv_last: Tensor::zeros(&self.gpu, &self.spec.conv().state_shape())?, last })
    }

    /// Records the core into an encoder of the same device. Fails like [`SelectiveScan::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MambaInputs<'_, T>,
        outputs: &MambaOutputs<T>,
    ) -> Result<(), Error> {
        let y = between::<T>(&self.gpu, &self.scratch, &self.spec.scan.shape())?;
        let convolved = Conv1dOutputs { y, last: outputs.conv_last.clone() };
        self.conv.encode(encoder, inputs.conv(), &convolved)?;
        let scanned = SelectiveScanOutputs { out: outputs.out.clone(), last: outputs.last.clone() };
        self.scan.encode(encoder, inputs.scan(&convolved.y), &scanned)
    }

    /// Allocates the outputs, records the core and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: MambaInputs<'_, T>) -> Result<MambaOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// The gradients of a [`Mamba`]. What the convolution gave is computed again.
#[derive(Clone, Debug)]
pub struct MambaBackward {
    gpu: Gpu,
    spec: MambaSpec,
    conv: Conv1d,
    conv_backward: Conv1dBackward,
    scan: SelectiveScanBackward,
    convolved: Scratch,
    last: Scratch,
}

impl MambaBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plans need. Fails like [`Mamba::new`].
    pub fn new(gpu: &Gpu, spec: MambaSpec) -> Result<Self, Error> {
        Ok(Self {
            gpu: gpu.clone(),
            spec,
            conv: Conv1d::new(gpu, spec.conv())?,
            conv_backward: Conv1dBackward::new(gpu, spec.conv())?,
            scan: SelectiveScanBackward::new(gpu, spec.scan)?,
            convolved: Scratch::default(),
            last: Scratch::default(),
        })
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<MambaGradients<T>, Error> {
        Ok(MambaGradients { conv: self.conv_backward.gradients()?, scan: self.scan.gradients()? })
    }

    /// Records the gradients of a loss, given its gradient by the result, into an encoder of the same device. Fails like
    /// [`SelectiveScan::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MambaInputs<'_, T>,
        dout: &Tensor<T>,
        gradients: &MambaGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, .. } = self;
        let y = between::<T>(gpu, &self.convolved, &spec.scan.shape())?;
        let last = self.last.tensors(gpu, &[&spec.conv().state_shape()])?[0].clone();
        let convolved = Conv1dOutputs { y, last };
        self.conv.encode(encoder, inputs.conv(), &convolved)?;
        self.scan.encode(encoder, inputs.scan(&convolved.y), dout, &gradients.scan)?;
        self.conv_backward.encode(encoder, inputs.conv(), &gradients.scan.du, &gradients.conv)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: MambaInputs<'_, T>,
        dout: &Tensor<T>,
    ) -> Result<MambaGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, dout, &gradients)?;
        self.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// A [`Mamba`] a step at a time: for decoding. A prefill followed by steps is one longer prefill.
///
/// Tensors are those of the spec with a length of 1, whatever its length is, and inputs hold no initial states.
#[derive(Clone, Debug)]
pub struct MambaStep {
    gpu: Gpu,
    spec: MambaSpec,
    conv: Conv1dStep,
    scan: SelectiveScanStep,
    scratch: Scratch,
}

impl MambaStep {
    /// Plans a step for this GPU and compiles what the plans need. Fails like [`Mamba::new`].
    pub fn new(gpu: &Gpu, spec: MambaSpec) -> Result<Self, Error> {
        let (conv, scan) = (Conv1dStep::new(gpu, spec.conv())?, SelectiveScanStep::new(gpu, spec.scan)?);
        Ok(Self { gpu: gpu.clone(), spec, conv, scan, scratch: Scratch::default() })
    }

    /// The states before any step. Fails if the device has no memory for them.
    pub fn states(&self) -> Result<MambaStates, Error> {
        let zeros = |shape: &[usize]| Tensor::zeros(&self.gpu, shape);
        let (conv, scan) = (self.spec.conv().state_shape(), self.spec.scan.state_shape());
        Ok(MambaStates { conv: zeros(&conv)?, recurrence: zeros(&scan)?, steps: 0 })
    }

    /// A tensor for the result of a step, (batch, channels, 1). Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.shape())
    }

    fn shape(&self) -> [usize; 3] {
        [self.spec.scan.batch, self.spec.scan.channels, 1]
    }

    /// Records a step into an encoder of the same device: its result, and the states after it. Fails like
    /// [`SelectiveScanStep::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: MambaInputs<'_, T>,
        states: &mut MambaStates,
        out: &Tensor<T>,
    ) -> Result<(), Error> {
        let (gpu, shape) = (&self.gpu, self.shape());
        inputs.x.expect(gpu, "x", self.spec.scan.dtype, &shape)?;
        if inputs.conv_initial.is_some() {
            return Err(Error::Presence { tensor: "the inputs before the first step", expected: false });
        }
        let x = Tensor::<T>::from_buffer(gpu, inputs.x.buffer().clone(), &shape[..2])?;
        let u = between::<T>(gpu, &self.scratch, &shape)?;
        let y = Tensor::<T>::from_buffer(gpu, u.buffer().clone(), &shape[..2])?;
        let sample = Conv1dStepInputs { x: &x, weight: inputs.weight, bias: inputs.bias };
        self.conv.encode(encoder, sample, &states.conv, states.steps, &y)?;
        let outputs = SelectiveScanOutputs { out: out.clone(), last: states.recurrence.clone() };
        self.scan.encode(encoder, inputs.scan(&u), &outputs)?;
        states.steps += 1;
        Ok(())
    }

    /// Allocates the result, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: MambaInputs<'_, T>,
        states: &mut MambaStates,
    ) -> Result<Tensor<T>, Error> {
        let out = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, states, &out)?;
        self.gpu.submit(encoder)?;
        Ok(out)
    }
}
