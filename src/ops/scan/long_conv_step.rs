//! One step of a long convolution.

use crate::kernel::{Kernel, compile_array, params};
use crate::plan::LongConvStepPlan;
use crate::shader::{Linker, Shader, ShaderError};
use crate::tensor::expect_optional;
use crate::{DType, Element, Error, Gpu, LongConvInputs, LongConvSpec, Tensor};

params! {
    /// `scan/long_conv_step`.
    StepParams { channels: u32, taps: u32, time: u32 }
}

params! {
    /// `scan/long_conv_history`.
    HistoryParams { total: u32, length: u32, taps: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &LongConvStepPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| {
        let linker = Linker::new(kernel).set("LANES", plan.lanes).set("HAS_PRE", plan.pre_gate);
        linker.tensor("x", plan.storage).tensor("pre", plan.storage)
    };
    let step = linker("scan/long_conv_step").set("HAS_SKIP", plan.skip).set("HAS_POST", plan.post_gate);
    let step = step.tensor("post", plan.storage).tensor("y", plan.storage);
    Ok(vec![linker("scan/long_conv_history").link()?, step.link()?])
}

/// A long convolution a sample at a time, with the samples before it as its state: for decoding. A prefill followed by
/// steps is one convolution.
///
/// The spec's `taps` are the samples that a history holds; its `length` is that of the prefill.
#[derive(Clone, Debug)]
pub struct LongConvStep {
    gpu: Gpu,
    spec: LongConvSpec,
    plan: LongConvStepPlan,
    kernels: [Kernel; 2],
}

impl LongConvStep {
    /// Plans the spec's steps for this GPU and compiles what the plan needs. Fails with [`Error::Plan`] if the spec is
    /// wrong or more than the adapter holds.
    pub fn new(gpu: &Gpu, spec: LongConvSpec) -> Result<Self, Error> {
        let plan = LongConvStepPlan::new(&spec, gpu.caps())?;
        let kernels = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels })
    }

    /// How it runs here.
    pub fn plan(&self) -> &LongConvStepPlan {
        &self.plan
    }

    /// A history of no samples, (batch, channels, taps). Fails if the device has no memory for it.
    pub fn history(&self) -> Result<Tensor<f32>, Error> {
        Tensor::zeros(&self.gpu, &self.history_shape())
    }

    fn history_shape(&self) -> [usize; 3] {
        [self.spec.batch, self.spec.channels, self.spec.taps]
    }

    /// A tensor for `y`, (batch, channels). Fails if the device has no memory for it.
    pub fn outputs<T: Element>(&self) -> Result<Tensor<T>, Error> {
        Tensor::zeros(&self.gpu, &self.shape())
    }

    fn shape(&self) -> [usize; 2] {
        [self.spec.batch, self.spec.channels]
    }

    /// Records what steps need to follow a convolution of these sequences. Fails like [`encode`](Self::encode).
    pub fn encode_history<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        history: &Tensor<f32>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels: [kernel, _] } = self;
        inputs.check(gpu, spec)?;
        history.expect(gpu, "the history", DType::F32, &self.history_shape())?;
        let total = (spec.rows() * spec.taps) as u32;
        let (length, taps) = (spec.length as u32, spec.taps as u32);
        let params = HistoryParams { groups: total.div_ceil(plan.lanes), total, length, taps };
        let pre = inputs.pre.map_or(gpu.unused(), Tensor::buffer);
        kernel.dispatch(gpu, encoder, &params, &[inputs.u.buffer(), pre, history.buffer()])
    }

    /// Records a step into an encoder of the same device: `y` of the sample at `time`, counted from 0, and the history
    /// with it. `u`, `pre`, `post` and `y` are (batch, channels).
    ///
    /// Fails, before anything is recorded, if a tensor lives on another [`Gpu`], has another shape or element type than
    /// the spec, or is given where the spec has no use for it.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LongConvInputs<'_, T>,
        time: u32,
        history: &Tensor<f32>,
        y: &Tensor<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, kernels: [_, kernel], .. } = self;
        let shape = self.shape();
        inputs.u.expect(gpu, "u", spec.dtype, &shape)?;
        inputs.k.expect(gpu, "k", DType::F32, &spec.kernel_shape())?;
        expect_optional(gpu, inputs.skip, "D", spec.skip, &[spec.channels])?;
        expect_optional(gpu, inputs.pre, "the gate of u", spec.pre_gate, &shape)?;
        expect_optional(gpu, inputs.post, "the gate of y", spec.post_gate, &shape)?;
        history.expect(gpu, "the history", DType::F32, &self.history_shape())?;
        y.expect(gpu, "y", spec.dtype, &shape)?;
        let (groups, taps) = (spec.rows() as u32, spec.taps as u32);
        let params = StepParams { groups, channels: spec.channels as u32, taps, time };
        let unused = gpu.unused();
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(unused, Tensor::buffer));
        let skip = inputs.skip.map_or(unused, Tensor::buffer);
        let (u, k) = (inputs.u.buffer(), inputs.k.buffer());
        kernel.dispatch(gpu, encoder, &params, &[u, k, skip, pre, post, history.buffer(), y.buffer()])
    }

    /// Allocates `y`, records a step and submits it. Fails like [`encode`](Self::encode).
    pub fn run<T: Element>(
        &self,
        inputs: LongConvInputs<'_, T>,
        time: u32,
        history: &Tensor<f32>,
    ) -> Result<Tensor<T>, Error> {
        let y = self.outputs()?;
        let mut encoder = self.gpu.encoder();
        self.encode(&mut encoder, inputs, time, history, &y)?;
        self.gpu.submit(encoder)?;
        Ok(y)
    }
}
