//! A causal depthwise convolution as a composition of array operations, and as a plain loop.

use std::fmt;

use super::strided_sums::Sums;
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::spec::wrong;
use crate::{
    Caps, Conv1dGradients, Conv1dInputs, Conv1dOutputs, Conv1dSpec, DType, Element, Error, Gpu, PlanError,
    Tensor,
};

/// How to run a [`Conv1dSpec`] unfused, or with a lane for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct PlainConv1dPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Whether a lane takes a row, a step at a time.
    pub sequential: bool,
    /// Taps.
    pub width: u32,
    /// How `x` and `y` are stored.
    pub storage: Storage,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether outputs pass through silu.
    pub silu: bool,
    /// Whether an initial state is given.
    pub initial: bool,
    /// Whether channels lie innermost.
    pub channels_last: bool,
}

/// Steps of one dispatch of the sequential kernel, which says why.
const DISPATCH_STEPS: u32 = 1 << 12;

impl PlainConv1dPlan {
    /// Plans a pass for each tap. Fails if the spec is wrong, rows hold several sequences, or a tensor exceeds a binding,
    /// which the sums in f32 do first.
    pub fn unfused(spec: &Conv1dSpec, caps: &Caps) -> Result<Self, PlanError> {
        let plan = Self::new(spec, caps, false)?;
        check_binding("the sums of all steps", spec.rows() * spec.length, DType::F32, caps)?;
        Ok(plan)
    }

    /// Plans a loop. Fails if the spec is wrong, rows hold several sequences, or a tensor exceeds a binding.
    pub fn sequential(spec: &Conv1dSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(spec, caps, true)
    }

    fn new(spec: &Conv1dSpec, caps: &Caps, sequential: bool) -> Result<Self, PlanError> {
        spec.check()?;
        for (name, on) in [("sequences", spec.sequences), ("packed sequences", spec.packed.is_some())] {
            if on {
                return Err(wrong(name, &true, "false: the yardsticks take whole rows").into());
            }
        }
        check_binding("x", spec.rows() * spec.length, spec.dtype, caps)?;
        let Conv1dSpec { bias, silu, initial, channels_last, .. } = *spec;
        Ok(Self {
            lanes: caps.workgroup_lanes.min(if sequential { 64 } else { 256 }),
            sequential,
            width: spec.width as u32,
            storage: Storage::new(spec.dtype, caps.f16, false),
            bias,
            silu,
            initial,
            channels_last,
        })
    }
}

impl Plan for PlainConv1dPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        if self.sequential {
            return vec![kernel("baseline/conv1d_sequential", 6)];
        }
        vec![kernel("baseline/conv1d_tap", 4), kernel("baseline/conv1d_activate", 6)]
    }
}

impl fmt::Display for PlainConv1dPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, width, storage, .. } = self;
        if self.sequential {
            write!(f, "a loop, a lane a row; {lanes} lanes, {storage}")
        } else {
            write!(f, "{width} passes, one a tap, over sums in f32; {lanes} lanes, {storage}")
        }
    }
}

params! {
    /// `baseline/conv1d_sequential`.
    SequentialParams { rows: u32, channels: u32, length: u32, first: u32, end: u32 }
}

params! {
    /// `baseline/conv1d_tap` and `baseline/conv1d_tap_back`.
    TapParams { total: u32, channels: u32, length: u32, tap: u32 }
}

params! {
    /// `baseline/conv1d_activate` and `baseline/conv1d_slope`.
    ActivateParams { total: u32, channels: u32, length: u32 }
}

params! {
    /// `baseline/conv1d_totals`.
    TotalsParams { rows: u32, channels: u32, length: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &PlainConv1dPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| {
        let linker = yardstick(kernel).module("baseline/conv1d_inputs").set("LANES", plan.lanes);
        let linker = linker.set("WIDTH", plan.width).set("HAS_INITIAL", plan.initial);
        linker.set("CHANNELS_LAST", plan.channels_last).tensor("x", plan.storage)
    };
    let activated = |kernel| {
        let linker = linker(kernel).module("common/activation").set("SILU", plan.silu);
        linker.set("HAS_BIAS", plan.bias).tensor("y", plan.storage)
    };
    if plan.sequential {
        return Ok(vec![activated("baseline/conv1d_sequential").link()?]);
    }
    Ok(vec![linker("baseline/conv1d_tap").link()?, activated("baseline/conv1d_activate").link()?])
}

/// A convolution as array frameworks compose it: a product and a sum over whole arrays for each tap, then bias and
/// activation.
#[derive(Clone, Debug)]
pub struct UnfusedConv1d {
    gpu: Gpu,
    spec: Conv1dSpec,
    plan: PlainConv1dPlan,
    kernels: [Kernel; 2],
}

impl UnfusedConv1d {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: Conv1dSpec) -> Result<Self, Error> {
        let plan = PlainConv1dPlan::unfused(&spec, gpu.caps())?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels: compile_array(gpu, &shaders(&plan)?)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &PlainConv1dPlan {
        &self.plan
    }

    /// The sums of all steps.
    pub fn scratch(&self) -> Result<Tensor<f32>, Error> {
        Tensor::zeros(&self.gpu, &self.spec.shape())
    }

    /// Records every pass.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dInputs<'_, T>,
        outputs: &Conv1dOutputs<T>,
        sums: &Tensor<f32>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels: [tap, activate] } = self;
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec)?;
        sums.expect(gpu, "the sums of all steps", DType::F32, &spec.shape())?;
        let (x, sums) = (inputs.x.buffer(), sums.buffer());
        let [bias, initial] =
            [inputs.bias, inputs.initial].map(|tensor| tensor.map_or(gpu.unused(), Tensor::buffer));
        let (total, channels) = ((spec.rows() * spec.length) as u32, spec.channels as u32);
        let (groups, length) = (total.div_ceil(plan.lanes), spec.length as u32);
        for k in 0..plan.width {
            let params = TapParams { groups, total, channels, length, tap: k };
            tap.dispatch(gpu, encoder, &params, &[x, inputs.weight.buffer(), initial, sums])?;
        }
        let params = ActivateParams { groups, total, channels, length };
        let buffers = [sums, bias, x, initial, outputs.y.buffer(), outputs.last.buffer()];
        activate.dispatch(gpu, encoder, &params, &buffers)
    }
}

/// A convolution as a loop, one lane a row.
#[derive(Clone, Debug)]
pub struct SequentialConv1d {
    gpu: Gpu,
    spec: Conv1dSpec,
    plan: PlainConv1dPlan,
    kernel: Kernel,
}

impl SequentialConv1d {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: Conv1dSpec) -> Result<Self, Error> {
        let plan = PlainConv1dPlan::sequential(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &PlainConv1dPlan {
        &self.plan
    }

    /// Records the convolution.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dInputs<'_, T>,
        outputs: &Conv1dOutputs<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        inputs.check(gpu, spec)?;
        outputs.check(gpu, spec)?;
        let [bias, initial] =
            [inputs.bias, inputs.initial].map(|tensor| tensor.map_or(gpu.unused(), Tensor::buffer));
        let (y, last) = (outputs.y.buffer(), outputs.last.buffer());
        let buffers = [inputs.x.buffer(), inputs.weight.buffer(), bias, initial, y, last];
        dispatches(spec, plan).try_for_each(|params| kernel.dispatch(gpu, encoder, &params, &buffers))
    }
}

/// The steps of every row, some at once.
fn dispatches(
    spec: &Conv1dSpec,
    plan: &PlainConv1dPlan,
) -> impl DoubleEndedIterator<Item = SequentialParams> + use<> {
    let (rows, channels, length) = (spec.rows() as u32, spec.channels as u32, spec.length as u32);
    let groups = rows.div_ceil(plan.lanes);
    (0..length.div_ceil(DISPATCH_STEPS)).map(move |part| {
        let first = part * DISPATCH_STEPS;
        let end = length.min(first + DISPATCH_STEPS);
        SequentialParams { groups, rows, channels, length, first, end }
    })
}

fn rows_first(spec: &Conv1dSpec) -> Result<(), PlanError> {
    if spec.channels_last {
        return Err(wrong("channels_last", &true, "false: the yardsticks of gradients take rows").into());
    }
    Ok(())
}

/// How to run the gradients of a [`Conv1dSpec`] unfused, or with a lane for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PlainConv1dBackwardPlan {
    /// That of the convolution.
    pub conv: PlainConv1dPlan,
}

impl PlainConv1dBackwardPlan {
    /// Plans a loop. Fails like [`PlainConv1dPlan::sequential`].
    pub fn sequential(spec: &Conv1dSpec, caps: &Caps) -> Result<Self, PlanError> {
        rows_first(spec)?;
        Ok(Self { conv: PlainConv1dPlan::sequential(spec, caps)? })
    }

    /// Plans array operations. Fails like [`PlainConv1dPlan::unfused`], and where an initial state is given.
    pub fn unfused(spec: &Conv1dSpec, caps: &Caps) -> Result<Self, PlanError> {
        rows_first(spec)?;
        if spec.initial {
            return Err(wrong("initial", &true, "false: this yardstick begins after zeros").into());
        }
        Ok(Self { conv: PlainConv1dPlan::unfused(spec, caps)? })
    }
}

/// Lanes of `baseline/conv1d_totals`.
const TOTAL_LANES: u32 = 64;

impl Plan for PlainConv1dBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.conv.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        if self.conv.sequential {
            return vec![kernel("baseline/conv1d_backward_sequential", 8), Sums::footprint()];
        }
        let totals = kernel("baseline/conv1d_totals", 4);
        vec![
            kernel("baseline/conv1d_tap", 4),
            kernel("baseline/conv1d_slope", 3),
            kernel("baseline/conv1d_tap_back", 4),
            Footprint { lanes: TOTAL_LANES, workgroup_bytes: 4 * TOTAL_LANES, ..totals },
            Sums::footprint(),
        ]
    }
}

impl fmt::Display for PlainConv1dBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.conv)?;
        if self.conv.sequential { Ok(()) } else { write!(f, "; and as many back") }
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(
    PlainConv1dBackwardPlan { conv }: &PlainConv1dBackwardPlan,
) -> Result<Vec<Shader>, ShaderError> {
    let sum = Sums::shader(Storage::F32)?;
    let linker = |kernel, lanes| yardstick(kernel).set("LANES", lanes);
    let with_inputs = |kernel, lanes| {
        let linker = linker(kernel, lanes).module("baseline/conv1d_inputs").set("WIDTH", conv.width);
        linker.set("HAS_INITIAL", conv.initial).tensor("x", conv.storage)
    };
    let activated = |linker: Linker| {
        let linker = linker.module("common/activation").set("SILU", conv.silu).set("HAS_BIAS", conv.bias);
        linker.tensor("dy", conv.storage)
    };
    if conv.sequential {
        let back = activated(with_inputs("baseline/conv1d_backward_sequential", conv.lanes));
        return Ok(vec![back.tensor("dx", conv.storage).link()?, sum]);
    }
    let tap_back = linker("baseline/conv1d_tap_back", conv.lanes).set("WIDTH", conv.width);
    Ok(vec![
        with_inputs("baseline/conv1d_tap", conv.lanes).link()?,
        activated(linker("baseline/conv1d_slope", conv.lanes)).link()?,
        tap_back.tensor("dx", conv.storage).link()?,
        with_inputs("baseline/conv1d_totals", TOTAL_LANES).link()?,
        sum,
    ])
}

/// Records the gradients of taps and of the bias from what each row adds to them: that of taps first.
fn sum_rows<T>(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    (spec, sum): (&Conv1dSpec, &Kernel),
    parts: &wgpu::Buffer,
    gradients: &Conv1dGradients<T>,
) -> Result<(), Error> {
    let of_channels = |first, width| Sums {
        first,
        batches: [spec.batch, spec.channels * width],
        share: 1,
        width,
        units: spec.channels,
        to: None,
    };
    let dweight = gradients.dweight.buffer();
    of_channels(0, spec.width).encode(gpu, encoder, sum, [parts, dweight])?;
    let Some(dbias) = &gradients.dbias else { return Ok(()) };
    of_channels(spec.rows() * spec.width, 1).encode(gpu, encoder, sum, [parts, dbias.buffer()])
}

/// The gradients of a convolution as a loop, one lane a row, and sums over the rows of a channel.
#[derive(Clone, Debug)]
pub struct SequentialConv1dBackward {
    gpu: Gpu,
    spec: Conv1dSpec,
    plan: PlainConv1dBackwardPlan,
    kernels: [Kernel; 2],
}

impl SequentialConv1dBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: Conv1dSpec) -> Result<Self, Error> {
        let plan = PlainConv1dBackwardPlan::sequential(&spec, gpu.caps())?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels: compile_array(gpu, &backward_shaders(&plan)?)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &PlainConv1dBackwardPlan {
        &self.plan
    }

    /// What each row adds to the gradients of taps and of the bias.
    pub fn scratch(&self) -> Result<Tensor<f32>, Error> {
        Tensor::zeros(&self.gpu, &self.scratch_shape())
    }

    fn scratch_shape(&self) -> [usize; 2] {
        [self.spec.width + 1, self.spec.rows()]
    }

    /// Records the loop, from the last steps to the first, and the sums.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &Conv1dGradients<T>,
        parts: &Tensor<f32>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels: [back, sum] } = self;
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        parts.expect(gpu, "what each row adds", DType::F32, &self.scratch_shape())?;
        let parts = parts.buffer();
        encoder.clear_buffer(parts, 0, None);
        let [bias, initial] =
            [inputs.bias, inputs.initial].map(|tensor| tensor.map_or(gpu.unused(), Tensor::buffer));
        // What is not written may be any tensor that the kernel does not bind.
        let dinitial = gradients.dinitial.as_ref().unwrap_or(&gradients.dweight).buffer();
        let (x, weight, dx) = (inputs.x.buffer(), inputs.weight.buffer(), gradients.dx.buffer());
        let buffers = [x, weight, bias, initial, dy.buffer(), dx, parts, dinitial];
        let mut from_the_last = dispatches(spec, &plan.conv).rev();
        from_the_last.try_for_each(|params| back.dispatch(gpu, encoder, &params, &buffers))?;
        sum_rows(gpu, encoder, (spec, sum), parts, gradients)
    }
}

/// The tensors between the kernels of a convolution's unfused gradients.
#[derive(Clone, Debug)]
pub struct Conv1dBackwardScratch {
    /// Sums, then their gradients.
    sums: Tensor<f32>,
    /// Gradients of inputs in f32.
    found: Tensor<f32>,
    /// What each row adds to the gradients of taps and of the bias.
    parts: Tensor<f32>,
}

/// The gradients of a convolution as array frameworks compose them: the sums again, the activation's slope, a product and a
/// sum over whole arrays for each tap, and a sum over each row for each tap and the bias.
#[derive(Clone, Debug)]
pub struct UnfusedConv1dBackward {
    gpu: Gpu,
    spec: Conv1dSpec,
    plan: PlainConv1dBackwardPlan,
    kernels: [Kernel; 5],
}

impl UnfusedConv1dBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: Conv1dSpec) -> Result<Self, Error> {
        let plan = PlainConv1dBackwardPlan::unfused(&spec, gpu.caps())?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels: compile_array(gpu, &backward_shaders(&plan)?)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &PlainConv1dBackwardPlan {
        &self.plan
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<Conv1dBackwardScratch, Error> {
        let Self { gpu, spec, .. } = self;
        Ok(Conv1dBackwardScratch {
            sums: Tensor::zeros(gpu, &spec.shape())?,
            found: Tensor::zeros(gpu, &spec.shape())?,
            parts: Tensor::zeros(gpu, &[spec.rows(), spec.width + 1])?,
        })
    }

    /// Records every pass.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: Conv1dInputs<'_, T>,
        dy: &Tensor<T>,
        gradients: &Conv1dGradients<T>,
        Conv1dBackwardScratch { sums, found, parts }: &Conv1dBackwardScratch,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels: [tap, slope, tap_back, totals, sum] } = self;
        inputs.check(gpu, spec)?;
        dy.expect(gpu, "dy", spec.dtype, &spec.shape())?;
        gradients.check(gpu, spec)?;
        for tensor in [sums, found] {
            tensor.expect(gpu, "what lies between the kernels", DType::F32, &spec.shape())?;
        }
        parts.expect(gpu, "what each row adds", DType::F32, &[spec.rows(), spec.width + 1])?;
        let (x, weight, dx) = (inputs.x.buffer(), inputs.weight.buffer(), gradients.dx.buffer());
        let [sums, found, parts] = [sums, found, parts].map(Tensor::buffer);
        let (total, channels) = ((spec.rows() * spec.length) as u32, spec.channels as u32);
        let (groups, length) = (total.div_ceil(plan.conv.lanes), spec.length as u32);
        let taps = || (0..plan.conv.width).map(|k| TapParams { groups, total, channels, length, tap: k });
        if plan.conv.silu {
            for params in taps() {
                tap.dispatch(gpu, encoder, &params, &[x, weight, gpu.unused(), sums])?;
            }
        }
        let params = ActivateParams { groups, total, channels, length };
        let bias = inputs.bias.map_or(gpu.unused(), Tensor::buffer);
        slope.dispatch(gpu, encoder, &params, &[dy.buffer(), bias, sums])?;
        for params in taps() {
            tap_back.dispatch(gpu, encoder, &params, &[sums, weight, found, dx])?;
        }
        let rows = spec.rows() as u32;
        let params = TotalsParams { groups: rows * (plan.conv.width + 1), rows, channels, length };
        totals.dispatch(gpu, encoder, &params, &[x, gpu.unused(), sums, parts])?;
        sum_rows(gpu, encoder, (spec, sum), parts, gradients)
    }
}
