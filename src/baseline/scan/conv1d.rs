//! A causal depthwise convolution as a composition of array operations, and as a plain loop.

use std::fmt;

use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Shader, ShaderError, Storage};
use crate::spec::wrong;
use crate::{Caps, Conv1dInputs, Conv1dOutputs, Conv1dSpec, DType, Element, Error, Gpu, PlanError, Tensor};

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
        if spec.sequences {
            return Err(wrong("sequences", &true, "false: the yardsticks take whole rows").into());
        }
        check_binding("x", spec.rows() * spec.length, spec.dtype, caps)?;
        let Conv1dSpec { bias, silu, initial, .. } = *spec;
        Ok(Self {
            lanes: caps.workgroup_lanes.min(if sequential { 64 } else { 256 }),
            sequential,
            width: spec.width as u32,
            storage: Storage::new(spec.dtype, caps.f16, false),
            bias,
            silu,
            initial,
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
    /// `baseline/conv1d_tap`.
    TapParams { total: u32, channels: u32, length: u32, tap: u32 }
}

params! {
    /// `baseline/conv1d_activate`.
    ActivateParams { total: u32, channels: u32, length: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &PlainConv1dPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| {
        let linker = yardstick(kernel).module("baseline/conv1d_inputs").set("LANES", plan.lanes);
        linker.set("WIDTH", plan.width).set("HAS_INITIAL", plan.initial).tensor("x", plan.storage)
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
        let (rows, length) = (spec.rows() as u32, spec.length as u32);
        for first in (0..length).step_by(DISPATCH_STEPS as usize) {
            let params = SequentialParams {
                groups: rows.div_ceil(plan.lanes),
                rows,
                channels: spec.channels as u32,
                length,
                first,
                end: length.min(first + DISPATCH_STEPS),
            };
            kernel.dispatch(gpu, encoder, &params, &buffers)?;
        }
        Ok(())
    }
}
