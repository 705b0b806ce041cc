//! S4D: diagonal state-space models as long convolutions, and a sample at a time.

use crate::kernel::{Kernel, compile_array, params};
use crate::ops::{LongConv, LongConvBackward, LongConvGradients, LongConvInputs, Scratch};
use crate::plan::S4dPlan;
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::spec::{Complex, Discretization, S4dParameters, S4dSpec};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, Tensor, math};

params! {
    /// `scan/s4d_kernel`.
    KernelParams { length: u32, tiles: u32, pairs: u32, bits: u32 }
}

params! {
    /// `scan/s4d_sums`.
    SumsParams { length: u32, channels: u32, pairs: u32, bits: u32 }
}

params! {
    /// `scan/s4d_step`.
    StepParams { sequences: u32, channels: u32, pairs: u32, bits: u32 }
}

/// Inputs of an [`S4d`]; shapes as in its convolution's spec.
#[derive(Clone, Copy, Debug)]
pub struct S4dInputs<'a, T> {
    /// Sequences.
    pub u: &'a Tensor<T>,
    /// The discretized parameters, as [`S4d::modes`] makes them.
    pub modes: &'a Tensor<f32>,
    /// `D`, if the spec has it.
    pub skip: Option<&'a Tensor<f32>>,
    /// The gate of `u`, if the spec has it.
    pub pre: Option<&'a Tensor<T>>,
    /// The gate of the result, if the spec has it.
    pub post: Option<&'a Tensor<T>>,
}

impl<'a, T: Element> S4dInputs<'a, T> {
    fn conv(&self, k: &'a Tensor<f32>) -> LongConvInputs<'a, T> {
        LongConvInputs { u: self.u, k, skip: self.skip, pre: self.pre, post: self.post }
    }
}

/// Gradients of an [`S4d`].
#[derive(Clone, Debug)]
pub struct S4dGradients<T> {
    /// Of the sequences.
    pub du: Tensor<T>,
    /// What [`S4dParameters::gradients`] makes those of the parameters of, (channels, pairs, 2, 2): for each mode
    /// `Σ dK_l Ā^l` and `Σ dK_l l Ā^l`.
    pub dmodes: Tensor<f32>,
    /// Of `D`, if the spec has it.
    pub dskip: Option<Tensor<f32>>,
    /// Of the gate of `u`, if the spec has it.
    pub dpre: Option<Tensor<T>>,
    /// Of the gate of the result, if the spec has it.
    pub dpost: Option<Tensor<T>>,
}

/// The weight `C B̄` of a mode, the logarithm of its power, and how both change with the step and with `A`.
struct Discrete {
    weight: Complex,
    /// `B̄`.
    input: Complex,
    /// `δ ∂B̄/∂δ` and `∂B̄/∂A`.
    input_by: [Complex; 2],
    /// `Ā`.
    power: Complex,
    /// `δ ∂(ln Ā)/∂δ` and `∂(ln Ā)/∂A`.
    log_by: [Complex; 2],
}

impl Discrete {
    fn new(spec: &S4dSpec, parameters: &S4dParameters, mode: usize) -> Self {
        let (dt, a) = parameters.continuous(spec, mode);
        let c = parameters.c(mode);
        match spec.rule {
            Discretization::ZeroOrderHold => {
                let power = a.scale(dt).exp();
                let input = (power - Complex::ONE) / a;
                let input_by = [power.scale(dt), (power.scale(dt) - input) / a];
                let log_by = [a.scale(dt), Complex::ONE.scale(dt)];
                Self { weight: c * input, input, input_by, power, log_by }
            }
            Discretization::Bilinear => {
                let half = a.scale(dt / 2.0);
                let below = Complex::ONE / (Complex::ONE - half);
                let above = Complex::ONE / (Complex::ONE + half);
                let (power, input) = (below / above, below.scale(dt));
                let square = below * below;
                let input_by = [square.scale(dt), square.scale(dt * dt / 2.0)];
                // The logarithm of the power changes with δA as 1 / ((1 - δA/2) (1 + δA/2)).
                let log_by = [a.scale(dt) * below * above, (below * above).scale(dt)];
                Self { weight: c * input, input, input_by, power, log_by }
            }
        }
    }

    /// The power that is twice as high, and so on, in polar form: rounding does not add up.
    fn doubled_powers(&self, bits: u32) -> impl Iterator<Item = Complex> {
        let Complex { re, im } = self.power;
        let log = Complex { re: math::log(math::hypot(re, im)), im: math::atan2(im, re) };
        (0..bits).map(move |bit| log.scale(2.0_f64.powi(bit.cast_signed())).exp())
    }
}

impl S4dParameters {
    /// The gradients of a loss by the parameters, from what [`S4dBackward`] writes. Fails unless there are as many values
    /// as the spec says.
    pub fn gradients(&self, spec: &S4dSpec, dmodes: &[f32]) -> Result<Self, Error> {
        self.check(spec)?;
        let shape = [spec.conv.channels, spec.pairs, 2, 2];
        if dmodes.len() != 4 * spec.modes() {
            let (found, expected) = (dmodes.len(), 4 * spec.modes());
            return Err(Error::Length { shape: shape.to_vec(), found, expected });
        }
        let zeros = |count| vec![0.0; count];
        let (channels, modes) = (spec.conv.channels, spec.modes());
        let mut gradients = Self {
            log_dt: zeros(channels),
            log_a_re: zeros(modes),
            a_im: zeros(modes),
            c_re: zeros(modes),
            c_im: zeros(modes),
        };
        for (mode, sums) in dmodes.chunks(4).enumerate() {
            let [re, im, weighted_re, weighted_im] = [0, 1, 2, 3].map(|i| f64::from(sums[i]));
            let (by_weight, by_log) = (Complex { re, im }, Complex { re: weighted_re, im: weighted_im });
            let discrete = Discrete::new(spec, self, mode);
            // A loss changes by 2 Re of this times a change.
            let by_c = (by_weight * discrete.input).scale(2.0);
            let by = |i: usize| {
                let through_weight = by_weight * self.c(mode) * discrete.input_by[i];
                (through_weight + discrete.weight * by_log * discrete.log_by[i]).scale(2.0)
            };
            let (by_step, by_a) = (by(0), by(1));
            gradients.log_dt[mode / spec.pairs] += by_step.re;
            gradients.log_a_re[mode] = by_a.re * self.continuous(spec, mode).1.re;
            gradients.a_im[mode] = -by_a.im;
            gradients.c_re[mode] = by_c.re;
            gradients.c_im[mode] = -by_c.im;
        }
        Ok(gradients)
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &S4dPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| Linker::new(kernel).module("scan/s4d_powers").set("LANES", plan.lanes);
    let in_tiles = |kernel| linker(kernel).set("TILE_BITS", plan.tile_bits());
    let sums = |storage: Storage, states: bool| {
        let linker = in_tiles("scan/s4d_sums").set("STATES", states).set("HAS_PRE", states && plan.pre_gate);
        linker.tensor("x", storage).tensor("pre", storage).link()
    };
    let step = linker("scan/s4d_step")
        .set("HAS_SKIP", plan.skip)
        .set("HAS_PRE", plan.pre_gate)
        .set("HAS_POST", plan.post_gate);
    let step = ["x", "pre", "post", "y"].into_iter().fold(step, |step, name| step.tensor(name, plan.storage));
    Ok(vec![
        in_tiles("scan/s4d_kernel").link()?,
        sums(Storage::F32, false)?,
        sums(plan.storage, true)?,
        step.link()?,
    ])
}

/// The kernels that the ops share.
#[derive(Clone, Debug)]
struct Modes {
    gpu: Gpu,
    spec: S4dSpec,
    plan: S4dPlan,
    /// Kernels, sums, states, step.
    kernels: [Kernel; 4],
}

impl Modes {
    fn new(gpu: &Gpu, spec: S4dSpec) -> Result<Self, Error> {
        let plan = S4dPlan::new(&spec, gpu.caps())?;
        let kernels = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels })
    }

    fn shape(&self) -> [usize; 4] {
        [self.spec.conv.channels, self.spec.pairs, 1 + self.plan.bits as usize, 2]
    }

    /// Discretizes parameters in f64, with the powers that others are made of.
    fn upload(&self, parameters: &S4dParameters) -> Result<Tensor<f32>, Error> {
        parameters.check(&self.spec)?;
        let numbers = (0..self.spec.modes()).flat_map(|mode| {
            let discrete = Discrete::new(&self.spec, parameters, mode);
            let powers: Vec<_> = discrete.doubled_powers(self.plan.bits).collect();
            std::iter::once(discrete.weight).chain(powers)
        });
        let values: Vec<_> = numbers.flat_map(|number| [number.re as f32, number.im as f32]).collect();
        Tensor::from_slice(&self.gpu, &self.shape(), &values)
    }

    fn expect(&self, modes: &Tensor<f32>) -> Result<(), Error> {
        modes.expect(&self.gpu, "the modes", DType::F32, &self.shape())
    }

    fn encode_kernel(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        modes: &Tensor<f32>,
        k: &Tensor<f32>,
    ) -> Result<(), Error> {
        self.expect(modes)?;
        let (length, channels) = (self.spec.conv.length as u32, self.spec.conv.channels as u32);
        let tiles = length.div_ceil(4 * self.plan.lanes);
        let (pairs, bits) = (self.spec.pairs as u32, self.plan.bits);
        let params = KernelParams { groups: channels * tiles, length, tiles, pairs, bits };
        self.kernels[0].dispatch(&self.gpu, encoder, &params, &[k.buffer(), modes.buffer()])
    }

    /// Sums of that many sequences, with one of the two kernels.
    fn encode_sums(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        kernel: &Kernel,
        sequences: usize,
        buffers: [&wgpu::Buffer; 4],
    ) -> Result<(), Error> {
        let (length, channels) = (self.spec.conv.length as u32, self.spec.conv.channels as u32);
        let (pairs, bits) = (self.spec.pairs as u32, self.plan.bits);
        let params = SumsParams { groups: sequences as u32 * pairs, length, channels, pairs, bits };
        kernel.dispatch(&self.gpu, encoder, &params, &buffers)
    }
}

/// A diagonal state-space model as the long convolution that it is. Its kernels are made on the GPU from a few powers of
/// each mode, which the host computes in f64 from [`S4dParameters`].
#[derive(Clone, Debug)]
pub struct S4d {
    modes: Modes,
    conv: LongConv,
    scratch: Scratch,
}

impl S4d {
    /// Plans the spec for this GPU and compiles what the plans need. Fails with [`Error::Plan`] if the spec is wrong or
    /// more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: S4dSpec) -> Result<Self, Error> {
        let (modes, conv) = (Modes::new(gpu, spec)?, LongConv::new(gpu, spec.conv)?);
        Ok(Self { modes, conv, scratch: Scratch::default() })
    }

    /// How its kernels are made here.
    pub fn plan(&self) -> &S4dPlan {
        &self.modes.plan
    }

    /// Discretizes parameters. Fails if they are not as many as the spec says.
    pub fn modes(&self, parameters: &S4dParameters) -> Result<Tensor<f32>, Error> {
        self.modes.upload(parameters)
    }

    /// A tensor for `y`. Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        self.conv.outputs()
    }

    /// Records the kernels alone, (channels, length).
    pub fn encode_kernel(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        modes: &Tensor<f32>,
        k: &Tensor<f32>,
    ) -> Result<(), Error> {
        k.expect(&self.modes.gpu, "k", DType::F32, &self.modes.spec.conv.kernel_shape())?;
        self.modes.encode_kernel(encoder, modes, k)
    }

    /// Records kernels and convolution into an encoder of the same device. Fails like [`LongConv::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: S4dInputs<'_, T>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let shape = self.modes.spec.conv.kernel_shape();
        let k = &self.scratch.tensors(&self.modes.gpu, &[&shape])?[0];
        self.modes.encode_kernel(encoder, inputs.modes, k)?;
        self.conv.encode(encoder, inputs.conv(k), y)
    }

    /// Allocates `y`, records everything and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(&self, inputs: S4dInputs<'_, T>) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.modes.gpu.encoder();
        self.encode(&mut encoder, inputs, &y)?;
        self.modes.gpu.submit(encoder)?;
        Ok(y)
    }
}

/// The gradients of an [`S4d`].
#[derive(Clone, Debug)]
pub struct S4dBackward {
    modes: Modes,
    conv: LongConvBackward,
    scratch: Scratch,
}

impl S4dBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plans need. Fails like [`S4d::new`].
    pub fn new(gpu: &Gpu, spec: S4dSpec) -> Result<Self, Error> {
        let (modes, conv) = (Modes::new(gpu, spec)?, LongConvBackward::new(gpu, spec.conv)?);
        Ok(Self { modes, conv, scratch: Scratch::default() })
    }

    /// How its kernels and their gradients are made here.
    pub fn plan(&self) -> &S4dPlan {
        &self.modes.plan
    }

    fn dmodes_shape(&self) -> [usize; 4] {
        [self.modes.spec.conv.channels, self.modes.spec.pairs, 2, 2]
    }

    /// Tensors for the gradients. Fails if the device has no memory for them.
    pub fn gradients<T: Element>(&self) -> Result<S4dGradients<T>, Error> {
        let LongConvGradients { du, dskip, dpre, dpost, .. } = self.conv.gradients()?;
        let dmodes = Tensor::zeros(&self.modes.gpu, &self.dmodes_shape())?;
        Ok(S4dGradients { du, dmodes, dskip, dpre, dpost })
    }

    /// Records the gradients of a loss, given its gradient by `y`, into an encoder of the same device. Fails like
    /// [`LongConv::encode`].
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: S4dInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &S4dGradients<T>,
    ) -> Result<(), Error> {
        let Modes { gpu, spec, kernels: [_, sums, ..], .. } = &self.modes;
        gradients.dmodes.expect(gpu, "the gradient of the modes", DType::F32, &self.dmodes_shape())?;
        let shape = spec.conv.kernel_shape();
        let [k, dk] = self.scratch.tensors(gpu, &[&shape, &shape])? else {
            unreachable!("as many tensors as shapes")
        };
        self.modes.encode_kernel(encoder, inputs.modes, k)?;
        let S4dGradients { du, dmodes, dskip, dpre, dpost } = gradients.clone();
        let of_conv = LongConvGradients { du, dk: dk.clone(), dskip, dpre, dpost };
        self.conv.encode(encoder, inputs.conv(k), dy, &of_conv)?;
        let buffers = [dk.buffer(), gpu.unused(), dmodes.buffer(), inputs.modes.buffer()];
        self.modes.encode_sums(encoder, sums, spec.conv.channels, buffers)
    }

    /// Allocates the gradients, records them and submits. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: S4dInputs<'_, T>,
        dy: &Tensor<T>,
    ) -> Result<S4dGradients<T>, Error> {
        let gradients = self.gradients()?;
        let mut encoder = self.modes.gpu.encoder();
        self.encode(&mut encoder, inputs, dy, &gradients)?;
        self.modes.gpu.submit(encoder)?;
        Ok(gradients)
    }
}

/// An [`S4d`] a sample at a time, with its states: for decoding. A prefill followed by steps is one convolution. The
/// spec's length is that of the prefill.
#[derive(Clone, Debug)]
pub struct S4dStep {
    modes: Modes,
}

impl S4dStep {
    /// Plans the spec's steps for this GPU and compiles what the plan needs. Fails like [`S4d::new`].
    pub fn new(gpu: &Gpu, spec: S4dSpec) -> Result<Self, Error> {
        Ok(Self { modes: Modes::new(gpu, spec)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &S4dPlan {
        &self.modes.plan
    }

    /// Discretizes parameters. Fails if they are not as many as the spec says.
    pub fn modes(&self, parameters: &S4dParameters) -> Result<Tensor<f32>, Error> {
        self.modes.upload(parameters)
    }

    fn states_shape(&self) -> [usize; 4] {
        let S4dSpec { conv, pairs, .. } = self.modes.spec;
        [conv.batch, conv.channels, pairs, 2]
    }

    fn shape(&self) -> [usize; 2] {
        [self.modes.spec.conv.batch, self.modes.spec.conv.channels]
    }

    /// The states before any sample, (batch, channels, pairs, 2). Fails if the device has no memory for them.
    pub fn states(&self) -> Result<Tensor<f32>, Error> {
        Tensor::zeros(&self.modes.gpu, &self.states_shape())
    }

    /// A tensor for `y`, (batch, channels). Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.modes.gpu, &self.shape())
    }

    /// Records the states that these sequences leave behind. Fails like [`encode`](Self::encode).
    pub fn encode_states<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: S4dInputs<'_, T>,
        states: &Tensor<f32>,
    ) -> Result<(), Error> {
        let Modes { gpu, spec, kernels: [_, _, sums, _], .. } = &self.modes;
        self.modes.expect(inputs.modes)?;
        inputs.u.expect(gpu, "u", spec.conv.dtype, &spec.conv.shape())?;
        expect_optional(gpu, inputs.pre, "the gate of u", spec.conv.pre_gate, &spec.conv.shape())?;
        states.expect(gpu, "the states", DType::F32, &self.states_shape())?;
        let pre = inputs.pre.map_or(gpu.unused(), Tensor::buffer);
        let buffers = [inputs.u.buffer(), pre, states.buffer(), inputs.modes.buffer()];
        self.modes.encode_sums(encoder, sums, spec.conv.rows(), buffers)
    }

    /// Records a step into an encoder of the same device: `y` of one more sample, and the states after it. `u`, `pre`,
    /// `post` and `y` are (batch, channels).
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: S4dInputs<'_, T>,
        states: &Tensor<f32>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let Modes { gpu, spec, plan, kernels: [.., step] } = &self.modes;
        let (conv, shape) = (spec.conv, self.shape());
        self.modes.expect(inputs.modes)?;
        inputs.u.expect(gpu, "u", conv.dtype, &shape)?;
        expect_optional(gpu, inputs.skip, "D", conv.skip, &[conv.channels])?;
        expect_optional(gpu, inputs.pre, "the gate of u", conv.pre_gate, &shape)?;
        expect_optional(gpu, inputs.post, "the gate of y", conv.post_gate, &shape)?;
        states.expect(gpu, "the states", DType::F32, &self.states_shape())?;
        y.expect(gpu, "y", conv.dtype, &shape)?;
        let sequences = conv.rows() as u32;
        let params = StepParams {
            groups: sequences.div_ceil(plan.lanes),
            sequences,
            channels: conv.channels as u32,
            pairs: spec.pairs as u32,
            bits: plan.bits,
        };
        let unused = gpu.unused();
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let skip = inputs.skip.map_or(unused, Tensor::buffer);
        let (u, modes) = (inputs.u.buffer(), inputs.modes.buffer());
        step.dispatch(gpu, encoder, &params, &[u, skip, pre, post, states.buffer(), y.buffer(), modes])
    }

    /// Allocates `y`, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: S4dInputs<'_, T>,
        states: &Tensor<f32>,
    ) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.modes.gpu.encoder();
        self.encode(&mut encoder, inputs, states, &y)?;
        self.modes.gpu.submit(encoder)?;
        Ok(y)
    }
}
