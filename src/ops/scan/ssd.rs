//! State-space duality, its gradients and its steps.

use super::chunked::{Given, Gradients};
use super::chunked_windows::Windows;
use super::token::Token;
use crate::plan::{ChunkedBackwardPlan, ChunkedPlan, TokenPlan};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, Skip, SsdSpec, Tensor};

/// Inputs of [`Ssd`] and [`SsdBackward`]; shapes as in [`SsdSpec`].
#[derive(Clone, Copy, Debug)]
pub struct SsdInputs<'a, T> {
    /// What the states take in.
    pub x: &'a Tensor<T>,
    /// Discretisation steps, before bias, softplus and limits.
    pub dt: &'a Tensor<T>,
    /// What the logarithms of decays are, a unit of `dt`.
    pub a: &'a Tensor<f32>,
    /// Where in the states it goes.
    pub b: &'a Tensor<T>,
    /// How the states are read.
    pub c: &'a Tensor<T>,
    /// The factor with which `x` skips the recurrence, if the spec has one.
    pub d: Option<&'a Tensor<f32>>,
    /// The gate, if the spec has one.
    pub z: Option<&'a Tensor<T>>,
    /// The bias of `dt`, if the spec has one.
    pub dt_bias: Option<&'a Tensor<f32>>,
    /// States before the first steps, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

/// Outputs of [`Ssd`]; shapes as in [`SsdSpec`].
#[derive(Clone, Debug)]
pub struct SsdOutputs<T> {
    /// The result of every step.
    pub out: Tensor<T>,
    /// The states after the last steps, in f32: initial states for what follows.
    pub last: Tensor<f32>,
}

/// The gradients of what a loss is made of: inputs of [`SsdBackward`].
#[derive(Clone, Copy, Debug)]
pub struct SsdOutputGradients<'a, T> {
    /// Of `out`.
    pub out: &'a Tensor<T>,
    /// Of the last states, if anything follows from them.
    pub last: Option<&'a Tensor<f32>>,
}

/// Gradients, under the names of the inputs that they belong to and with their shapes: outputs of [`SsdBackward`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of the inputs")]
pub struct SsdGradients<T> {
    pub x: Tensor<T>,
    pub dt: Tensor<T>,
    pub a: Tensor<f32>,
    pub b: Tensor<T>,
    pub c: Tensor<T>,
    pub d: Option<Tensor<f32>>,
    pub z: Option<Tensor<T>>,
    pub dt_bias: Option<Tensor<f32>>,
    /// Of the states before the first steps, also where these are 0 for lack of given ones.
    pub initial: Tensor<f32>,
}

impl<T: Element> SsdInputs<'_, T> {
    /// Fails unless these are what the spec says.
    pub(crate) fn check(&self, gpu: &Gpu, spec: &SsdSpec) -> Result<(), Error> {
        let dtype = spec.dtype;
        self.x.expect(gpu, "x", dtype, &spec.x_shape())?;
        self.dt.expect(gpu, "dt", dtype, &spec.dt_shape())?;
        self.b.expect(gpu, "b", dtype, &spec.b_shape())?;
        self.c.expect(gpu, "c", dtype, &spec.b_shape())?;
        expect_optional(gpu, self.z, "z", spec.gated, &spec.x_shape())?;
        self.check_heads(gpu, spec)?;
        expect_optional(gpu, self.initial, "the initial states", spec.initial, &spec.state_shape())
    }

    fn check_heads(&self, gpu: &Gpu, spec: &SsdSpec) -> Result<(), Error> {
        self.a.expect(gpu, "a", DType::F32, &spec.head_shape())?;
        expect_optional(gpu, self.d, "d", spec.skip != Skip::None, &spec.d_shape())?;
        expect_optional(gpu, self.dt_bias, "dt_bias", spec.dt_bias, &spec.head_shape())
    }

    fn buffers<'b>(&'b self, gpu: &'b Gpu) -> Given<'b> {
        let of_heads = |tensor: Option<&'b Tensor<f32>>| tensor.map_or(gpu.unused(), Tensor::buffer);
        Given {
            x: self.x.buffer(),
            b: self.b.buffer(),
            c: self.c.buffer(),
            steps: vec![self.dt.buffer(), self.a.buffer(), of_heads(self.dt_bias)],
            skip: of_heads(self.d),
            z: self.z.map_or(gpu.unused(), Tensor::buffer),
            initial: self.initial.map(Tensor::buffer),
        }
    }
}

impl<T: Element> SsdOutputs<T> {
    pub(crate) fn zeros(gpu: &Gpu, spec: &SsdSpec) -> Result<Self, Error> {
        Ok(Self { out: Tensor::zeros(gpu, &spec.x_shape())?, last: Tensor::zeros(gpu, &spec.state_shape())? })
    }

    pub(crate) fn check(&self, gpu: &Gpu, spec: &SsdSpec) -> Result<(), Error> {
        self.out.expect(gpu, "out", spec.dtype, &spec.x_shape())?;
        self.last.expect(gpu, "the last states", DType::F32, &spec.state_shape())
    }
}

impl<T: Element> SsdOutputGradients<'_, T> {
    /// Fails unless these are of what the spec gives.
    pub(crate) fn check(&self, gpu: &Gpu, spec: &SsdSpec) -> Result<(), Error> {
        self.out.expect(gpu, "dout", spec.dtype, &spec.x_shape())?;
        let Some(last) = self.last else { return Ok(()) };
        last.expect(gpu, "the gradient of the last states", DType::F32, &spec.state_shape())
    }
}

impl<T: Element> SsdGradients<T> {
    fn zeros(gpu: &Gpu, spec: &SsdSpec) -> Result<Self, Error> {
        let heads = || Tensor::zeros(gpu, &spec.head_shape());
        let x = || Tensor::zeros(gpu, &spec.x_shape());
        let skip = spec.skip != Skip::None;
        Ok(Self {
            x: x()?,
            dt: Tensor::zeros(gpu, &spec.dt_shape())?,
            a: heads()?,
            b: Tensor::zeros(gpu, &spec.b_shape())?,
            c: Tensor::zeros(gpu, &spec.b_shape())?,
            d: skip.then(|| Tensor::zeros(gpu, &spec.d_shape())).transpose()?,
            z: spec.gated.then(x).transpose()?,
            dt_bias: spec.dt_bias.then(heads).transpose()?,
            initial: Tensor::zeros(gpu, &spec.state_shape())?,
        })
    }

    pub(crate) fn check(&self, gpu: &Gpu, spec: &SsdSpec) -> Result<(), Error> {
        let dtype = spec.dtype;
        self.x.expect(gpu, "dx", dtype, &spec.x_shape())?;
        self.dt.expect(gpu, "ddt", dtype, &spec.dt_shape())?;
        self.a.expect(gpu, "da", DType::F32, &spec.head_shape())?;
        self.b.expect(gpu, "db", dtype, &spec.b_shape())?;
        self.c.expect(gpu, "dc", dtype, &spec.b_shape())?;
        expect_optional(gpu, self.d.as_ref(), "dd", spec.skip != Skip::None, &spec.d_shape())?;
        expect_optional(gpu, self.z.as_ref(), "dz", spec.gated, &spec.x_shape())?;
        expect_optional(gpu, self.dt_bias.as_ref(), "ddt_bias", spec.dt_bias, &spec.head_shape())?;
        self.initial.expect(gpu, "the gradient of the initial states", DType::F32, &spec.state_shape())
    }
}

/// The recurrence of Mamba-2 (Dao and Gu 2024) as matrix products: within chunks all pairs of steps at once, like
/// attention; between chunks their states, which exist in device memory only there.
#[derive(Clone, Debug)]
pub struct Ssd {
    spec: SsdSpec,
    plan: ChunkedPlan,
    chunked: Windows,
}

impl Ssd {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: SsdSpec) -> Result<Self, Error> {
        let plan = ChunkedPlan::ssd(&spec, gpu.caps())?;
        let chunked = Windows::forward(gpu, spec.recurrence(), plan)?;
        Ok(Self { spec, plan, chunked })
    }

    /// How it runs here.
    pub fn plan(&self) -> &ChunkedPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<SsdOutputs<T>, Error> {
        SsdOutputs::zeros(&self.chunked.gpu, &self.spec)
    }

    /// Records the recurrence into an encoder of the same device.
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it, and if scratch cannot be allocated. No output may share a
    /// buffer with an input: the submission would fail. Clones of the op share its scratch, which counts in
    /// [`Gpu::memory`] until the last of them is dropped.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: SsdInputs<'_, T>,
        outputs: &SsdOutputs<T>,
    ) -> Result<(), Error> {
        let gpu = &self.chunked.gpu;
        inputs.check(gpu, &self.spec)?;
        outputs.check(gpu, &self.spec)?;
        self.chunked.encode(encoder, &inputs.buffers(gpu), outputs.out.buffer(), outputs.last.buffer())
    }

    /// Allocates the outputs, records the recurrence and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: SsdInputs<'_, T>) -> Result<SsdOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.chunked.gpu.encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.chunked.gpu.submit(encoder)?;
        Ok(outputs)
    }
}

/// The gradients of [`Ssd`]. They are products within chunks too, need nothing of the forward pass but its inputs, and
/// come out the same to the last bit at every run: nothing is summed in an order that varies.
#[derive(Clone, Debug)]
pub struct SsdBackward {
    spec: SsdSpec,
    plan: ChunkedBackwardPlan,
    chunked: Windows,
}

impl SsdBackward {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: SsdSpec) -> Result<Self, Error> {
        let plan = ChunkedBackwardPlan::ssd(&spec, gpu.caps())?;
        let chunked = Windows::backward(gpu, spec.recurrence(), &plan)?;
        Ok(Self { spec, plan, chunked })
    }

    /// How it runs here.
    pub fn plan(&self) -> &ChunkedBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<SsdGradients<T>, Error> {
        SsdGradients::zeros(&self.chunked.gpu, &self.spec)
    }

    /// Records the gradients into an encoder of the same device. Fails like [`Ssd::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: SsdInputs<'_, T>,
        of: SsdOutputGradients<'_, T>,
        gradients: &SsdGradients<T>,
    ) -> Result<(), Error> {
        let (gpu, spec) = (&self.chunked.gpu, &self.spec);
        inputs.check(gpu, spec)?;
        of.check(gpu, spec)?;
        gradients.check(gpu, spec)?;
        let mut heads = vec![gradients.a.buffer()];
        heads.extend(gradients.dt_bias.as_ref().map(Tensor::buffer));
        let given = Gradients {
            x: gradients.x.buffer(),
            b: gradients.b.buffer(),
            c: gradients.c.buffer(),
            step: gradients.dt.buffer(),
            heads,
            skip: gradients.d.as_ref().map(Tensor::buffer),
            z: gradients.z.as_ref().map_or(gpu.unused(), Tensor::buffer),
            initial: gradients.initial.buffer(),
        };
        let (out, last) = (of.out.buffer(), of.last.map(Tensor::buffer));
        self.chunked.encode_backward(encoder, &inputs.buffers(gpu), out, last, &given)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: SsdInputs<'_, T>,
        of: SsdOutputGradients<'_, T>,
    ) -> Result<SsdGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.chunked.gpu.encoder();
        self.encode(&mut encoder, inputs, of, &gradients)?;
        self.chunked.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// One step of every sequence of an [`SsdSpec`], as decoding takes it: [`Ssd`] over the steps so far, and then this for
/// each further one, is [`Ssd`] over them all.
///
/// Of the spec, the sizes and options of a step count: a sequence is a row of every tensor, and lengths and chunks play
/// no part. Tensors: `x`, `z` and `out` of shape (sequences, heads, `head_dim`), `dt` (sequences, heads), `b` and `c`
/// (sequences, groups, `state_dim`).
#[derive(Clone, Debug)]
pub struct SsdStep {
    spec: SsdSpec,
    plan: TokenPlan,
    token: Token,
}

impl SsdStep {
    /// Plans a step for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: SsdSpec) -> Result<Self, Error> {
        let plan = TokenPlan::ssd(&spec, gpu.caps())?;
        let token = Token::new(gpu, spec.recurrence(), plan)?;
        Ok(Self { spec, plan, token })
    }

    /// How it runs here.
    pub fn plan(&self) -> &TokenPlan {
        &self.plan
    }

    /// Shape of `x`, `z` and `out`.
    pub fn x_shape(&self) -> [usize; 3] {
        let [sequences, heads, head_dim, _] = self.spec.state_shape();
        [sequences, heads, head_dim]
    }

    /// Shape of `dt`.
    pub fn dt_shape(&self) -> [usize; 2] {
        let [sequences, heads, ..] = self.spec.state_shape();
        [sequences, heads]
    }

    /// Shape of `b` and `c`.
    pub fn b_shape(&self) -> [usize; 3] {
        [self.spec.state_shape()[0], self.spec.groups, self.spec.state_dim]
    }

    /// Records a step into an encoder of the same device: `states` are what they are before it, and left what they are
    /// after it, so that `inputs` has no initial ones. Fails like [`Ssd::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: SsdInputs<'_, T>,
        states: &Tensor<f32>,
        out: &Tensor<T>,
    ) -> Result<(), Error> {
        let (gpu, spec) = (&self.token.gpu, &self.spec);
        inputs.x.expect(gpu, "x", spec.dtype, &self.x_shape())?;
        inputs.dt.expect(gpu, "dt", spec.dtype, &self.dt_shape())?;
        inputs.b.expect(gpu, "b", spec.dtype, &self.b_shape())?;
        inputs.c.expect(gpu, "c", spec.dtype, &self.b_shape())?;
        expect_optional(gpu, inputs.z, "z", spec.gated, &self.x_shape())?;
        inputs.check_heads(gpu, spec)?;
        expect_optional(gpu, inputs.initial, "the initial states", false, &[])?;
        states.expect(gpu, "the states", DType::F32, &spec.state_shape())?;
        out.expect(gpu, "out", spec.dtype, &self.x_shape())?;
        self.token.encode(encoder, &inputs.buffers(gpu), states.buffer(), out.buffer())
    }

    /// Allocates the result, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: SsdInputs<'_, T>,
        states: &Tensor<f32>,
    ) -> Result<Tensor<T>, Error> {
        let out = Tensor::zeros(&self.token.gpu, &self.x_shape())?;
        let mut encoder = self.token.gpu.encoder();
        self.encode(&mut encoder, inputs, states, &out)?;
        self.token.gpu.submit(encoder)?;
        Ok(out)
    }
}
