//! Linear attention with decaying states, its gradients and its steps.

use super::chunked::{self, Given, Gradients};
use super::chunked_windows::Windows;
use super::keyed::{self, Keyed};
use super::token::Token;
use crate::plan::{LinearAttentionBackwardPlan, LinearAttentionPlan, TokenPlan};
use crate::shader::{Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gate, Gpu, LinearAttentionSpec, Tensor};

/// Inputs of [`LinearAttention`] and [`LinearAttentionBackward`]; shapes as in [`LinearAttentionSpec`].
#[derive(Clone, Copy, Debug)]
pub struct LinearAttentionInputs<'a, T> {
    /// How the states are read.
    pub q: &'a Tensor<T>,
    /// Where in the states it goes.
    pub k: &'a Tensor<T>,
    /// What the states take in.
    pub v: &'a Tensor<T>,
    /// Logarithms of the decays.
    pub g: &'a Tensor<f32>,
    /// States before the first steps, if the spec has them.
    pub initial: Option<&'a Tensor<f32>>,
}

/// Outputs of [`LinearAttention`] and [`DeltaRule`](crate::DeltaRule); shapes as in their specs.
#[derive(Clone, Debug)]
pub struct LinearAttentionOutputs<T> {
    /// The result of every step.
    pub o: Tensor<T>,
    /// The states after the last steps, in f32: initial states for what follows.
    pub last: Tensor<f32>,
}

/// The gradients of what a loss is made of: inputs of [`LinearAttentionBackward`] and
/// [`DeltaRuleBackward`](crate::DeltaRuleBackward).
#[derive(Clone, Copy, Debug)]
pub struct LinearAttentionOutputGradients<'a, T> {
    /// Of `o`.
    pub o: &'a Tensor<T>,
    /// Of the last states, if anything follows from them.
    pub last: Option<&'a Tensor<f32>>,
}

/// Gradients, under the names of the inputs that they belong to and with their shapes.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of the inputs")]
pub struct LinearAttentionGradients<T> {
    pub q: Tensor<T>,
    pub k: Tensor<T>,
    pub v: Tensor<T>,
    pub g: Tensor<f32>,
    /// Of the states before the first steps, also where these are 0 for lack of given ones.
    pub initial: Tensor<f32>,
}

impl<T: Element> LinearAttentionOutputs<T> {
    /// Fails unless these are what a spec says.
    pub(crate) fn check(&self, gpu: &Gpu, dtype: DType, o: &[usize], last: &[usize]) -> Result<(), Error> {
        self.o.expect(gpu, "o", dtype, o)?;
        self.last.expect(gpu, "the last states", DType::F32, last)
    }
}

impl<T: Element> LinearAttentionOutputGradients<'_, T> {
    /// Fails unless these are what a spec says.
    pub(crate) fn check(&self, gpu: &Gpu, dtype: DType, o: &[usize], last: &[usize]) -> Result<(), Error> {
        self.o.expect(gpu, "do", dtype, o)?;
        match self.last {
            Some(of_last) => of_last.expect(gpu, "the gradient of the last states", DType::F32, last),
            None => Ok(()),
        }
    }
}

impl<T: Element> LinearAttentionGradients<T> {
    pub(crate) fn check(&self, gpu: &Gpu, spec: &LinearAttentionSpec) -> Result<(), Error> {
        self.q.expect(gpu, "dq", spec.dtype, &spec.q_shape())?;
        self.k.expect(gpu, "dk", spec.dtype, &spec.q_shape())?;
        self.v.expect(gpu, "dv", spec.dtype, &spec.v_shape())?;
        self.g.expect(gpu, "dg", DType::F32, &spec.g_shape())?;
        self.initial.expect(gpu, "the gradient of the initial states", DType::F32, &spec.state_shape())
    }
}

impl<T: Element> LinearAttentionInputs<'_, T> {
    pub(crate) fn check(&self, gpu: &Gpu, spec: &LinearAttentionSpec) -> Result<(), Error> {
        self.q.expect(gpu, "q", spec.dtype, &spec.q_shape())?;
        self.k.expect(gpu, "k", spec.dtype, &spec.q_shape())?;
        self.v.expect(gpu, "v", spec.dtype, &spec.v_shape())?;
        self.g.expect(gpu, "g", DType::F32, &spec.g_shape())?;
        expect_optional(gpu, self.initial, "the initial states", spec.initial, &spec.state_shape())
    }

    fn buffers<'b>(&'b self, gpu: &'b Gpu) -> Given<'b> {
        Given {
            x: self.v.buffer(),
            b: self.k.buffer(),
            c: self.q.buffer(),
            steps: vec![self.g.buffer()],
            skip: gpu.unused(),
            z: gpu.unused(),
            initial: self.initial.map(Tensor::buffer),
        }
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &LinearAttentionPlan) -> Result<Vec<Shader>, ShaderError> {
    match plan {
        LinearAttentionPlan::Heads(plan) => chunked::shaders(plan),
        LinearAttentionPlan::Keys(plan) => keyed::shaders(plan),
    }
}

/// The linked shaders of a plan of gradients, in the order of its footprints.
pub fn backward_shaders(plan: &LinearAttentionBackwardPlan) -> Result<Vec<Shader>, ShaderError> {
    match plan {
        LinearAttentionBackwardPlan::Heads(plan) => chunked::backward_shaders(plan),
        LinearAttentionBackwardPlan::Keys(plan) => keyed::backward_shaders(plan),
    }
}

/// Compiled kernels of either kind of decay.
#[derive(Clone, Debug)]
enum Kernels {
    Heads(Box<Windows>),
    Keys(Box<Keyed>),
}

impl Kernels {
    fn gpu(&self) -> &Gpu {
        match self {
            Self::Heads(kernels) => &kernels.gpu,
            Self::Keys(kernels) => &kernels.gpu,
        }
    }
}

/// Linear attention with decaying states, in chunks: the kernels are those of [`Ssd`](crate::Ssd), with other decays.
#[derive(Clone, Debug)]
pub struct LinearAttention {
    spec: LinearAttentionSpec,
    plan: LinearAttentionPlan,
    kernels: Kernels,
}

impl LinearAttention {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LinearAttentionSpec) -> Result<Self, Error> {
        let plan = LinearAttentionPlan::new(&spec, gpu.caps())?;
        let kernels = match plan {
            LinearAttentionPlan::Heads(plan) => {
                Kernels::Heads(Box::new(Windows::forward(gpu, spec.recurrence(), plan)?))
            }
            LinearAttentionPlan::Keys(plan) => {
                Kernels::Keys(Box::new(Keyed::forward(gpu, spec.recurrence(), plan)?))
            }
        };
        Ok(Self { spec, plan, kernels })
    }

    /// How it runs here.
    pub fn plan(&self) -> &LinearAttentionPlan {
        &self.plan
    }

    /// Tensors for the outputs. Fails if the device has no memory for them.
    pub fn outputs<T: Element>(&self) -> Result<LinearAttentionOutputs<T>, Error> {
        let gpu = self.kernels.gpu();
        Ok(LinearAttentionOutputs {
            o: Tensor::zeros(gpu, &self.spec.v_shape())?,
            last: Tensor::zeros(gpu, &self.spec.state_shape())?,
        })
    }

    /// Records it into an encoder of the same device. Fails like [`Ssd::encode`](crate::Ssd::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearAttentionInputs<'_, T>,
        outputs: &LinearAttentionOutputs<T>,
    ) -> Result<(), Error> {
        let (gpu, spec) = (self.kernels.gpu(), &self.spec);
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        let (given, o, last) = (inputs.buffers(gpu), outputs.o.buffer(), outputs.last.buffer());
        match &self.kernels {
            Kernels::Heads(kernels) => kernels.encode(encoder, &given, o, last),
            Kernels::Keys(kernels) => kernels.encode(encoder, &given, o, last),
        }
    }

    /// Allocates the outputs, records it and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: LinearAttentionInputs<'_, T>,
    ) -> Result<LinearAttentionOutputs<T>, Error> {
        let outputs = self.outputs()?;
        let mut encoder = self.kernels.gpu().encoder();
        self.encode(&mut encoder, inputs, &outputs)?;
        self.kernels.gpu().submit(encoder)?;
        Ok(outputs)
    }
}

/// The gradients of [`LinearAttention`], the same to the last bit at every run.
#[derive(Clone, Debug)]
pub struct LinearAttentionBackward {
    spec: LinearAttentionSpec,
    plan: LinearAttentionBackwardPlan,
    kernels: Kernels,
}

impl LinearAttentionBackward {
    /// Plans the spec for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LinearAttentionSpec) -> Result<Self, Error> {
        let plan = LinearAttentionBackwardPlan::new(&spec, gpu.caps())?;
        let of = spec.recurrence();
        let kernels = match &plan {
            LinearAttentionBackwardPlan::Heads(plan) => {
                Kernels::Heads(Box::new(Windows::backward(gpu, of, plan)?))
            }
            LinearAttentionBackwardPlan::Keys(plan) => {
                Kernels::Keys(Box::new(Keyed::backward(gpu, of, plan)?))
            }
        };
        Ok(Self { spec, plan, kernels })
    }

    /// How it runs here.
    pub fn plan(&self) -> &LinearAttentionBackwardPlan {
        &self.plan
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<LinearAttentionGradients<T>, Error> {
        let (gpu, spec) = (self.kernels.gpu(), &self.spec);
        Ok(LinearAttentionGradients {
            q: Tensor::zeros(gpu, &spec.q_shape())?,
            k: Tensor::zeros(gpu, &spec.q_shape())?,
            v: Tensor::zeros(gpu, &spec.v_shape())?,
            g: Tensor::zeros(gpu, &spec.g_shape())?,
            initial: Tensor::zeros(gpu, &spec.state_shape())?,
        })
    }

    /// Records the gradients into an encoder of the same device. Fails like [`Ssd::encode`](crate::Ssd::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearAttentionInputs<'_, T>,
        of: LinearAttentionOutputGradients<'_, T>,
        gradients: &LinearAttentionGradients<T>,
    ) -> Result<(), Error> {
        let (gpu, spec) = (self.kernels.gpu(), &self.spec);
        inputs.check(gpu, spec)?;
        of.check(gpu, spec.dtype, &spec.v_shape(), &spec.state_shape())?;
        gradients.check(gpu, spec)?;
        let g = gradients.g.buffer();
        let (step, heads) = match spec.gate {
            Gate::Constant => (gpu.unused(), vec![g]),
            Gate::PerStep | Gate::PerKey => (g, vec![]),
        };
        let found = Gradients {
            x: gradients.v.buffer(),
            b: gradients.k.buffer(),
            c: gradients.q.buffer(),
            step,
            heads,
            skip: None,
            z: gpu.unused(),
            initial: gradients.initial.buffer(),
        };
        let (o, last) = (of.o.buffer(), of.last.map(Tensor::buffer));
        let given = inputs.buffers(gpu);
        match &self.kernels {
            Kernels::Heads(kernels) => kernels.encode_backward(encoder, &given, o, last, &found),
            Kernels::Keys(kernels) => kernels.encode_backward(encoder, &given, o, last, &found),
        }
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: LinearAttentionInputs<'_, T>,
        of: LinearAttentionOutputGradients<'_, T>,
    ) -> Result<LinearAttentionGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.kernels.gpu().encoder();
        self.encode(&mut encoder, inputs, of, &gradients)?;
        self.kernels.gpu().submit(encoder)?;
        Ok(gradients)
    }
}

/// One step of every sequence of a [`LinearAttentionSpec`], as decoding takes it.
///
/// Of the spec, the sizes and options of a step count: a sequence is a row of every tensor, and lengths and chunks play
/// no part. Tensors: `q` and `k` of shape (sequences, heads, `key_dim`), `v` and `o` (sequences, heads, `value_dim`), `g`
/// (heads), (sequences, heads) or like `k`.
#[derive(Clone, Debug)]
pub struct LinearAttentionStep {
    spec: LinearAttentionSpec,
    plan: TokenPlan,
    token: Token,
}

impl LinearAttentionStep {
    /// Plans a step for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LinearAttentionSpec) -> Result<Self, Error> {
        let plan = TokenPlan::linear_attention(&spec, gpu.caps())?;
        let token = Token::new(gpu, spec.recurrence(), plan)?;
        Ok(Self { spec, plan, token })
    }

    /// How it runs here.
    pub fn plan(&self) -> &TokenPlan {
        &self.plan
    }

    /// Shape of `q` and `k`.
    pub fn q_shape(&self) -> [usize; 3] {
        let [sequences, heads, _, key_dim] = self.spec.state_shape();
        [sequences, heads, key_dim]
    }

    /// Shape of `v` and `o`.
    pub fn v_shape(&self) -> [usize; 3] {
        let [sequences, heads, value_dim, _] = self.spec.state_shape();
        [sequences, heads, value_dim]
    }

    /// Shape of `g`.
    pub fn g_shape(&self) -> Vec<usize> {
        let [sequences, heads, ..] = self.spec.state_shape();
        match self.spec.gate {
            Gate::Constant => vec![heads],
            Gate::PerStep => vec![sequences, heads],
            Gate::PerKey => self.q_shape().to_vec(),
        }
    }

    /// Records a step into an encoder of the same device: `states` are what they are before it, and left what they are
    /// after it, so that `inputs` has no initial ones. Fails like [`Ssd::encode`](crate::Ssd::encode).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearAttentionInputs<'_, T>,
        states: &Tensor<f32>,
        o: &Tensor<T>,
    ) -> Result<(), Error> {
        let (gpu, spec) = (&self.token.gpu, &self.spec);
        inputs.q.expect(gpu, "q", spec.dtype, &self.q_shape())?;
        inputs.k.expect(gpu, "k", spec.dtype, &self.q_shape())?;
        inputs.v.expect(gpu, "v", spec.dtype, &self.v_shape())?;
        inputs.g.expect(gpu, "g", DType::F32, &self.g_shape())?;
        expect_optional(gpu, inputs.initial, "the initial states", false, &[])?;
        states.expect(gpu, "the states", DType::F32, &spec.state_shape())?;
        o.expect(gpu, "o", spec.dtype, &self.v_shape())?;
        self.token.encode(encoder, &inputs.buffers(gpu), states.buffer(), o.buffer())
    }

    /// Allocates the result, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: LinearAttentionInputs<'_, T>,
        states: &Tensor<f32>,
    ) -> Result<Tensor<T>, Error> {
        let o = Tensor::zeros(&self.token.gpu, &self.v_shape())?;
        let mut encoder = self.token.gpu.encoder();
        self.encode(&mut encoder, inputs, states, &o)?;
        self.token.gpu.submit(encoder)?;
        Ok(o)
    }
}
