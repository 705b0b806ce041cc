//! A diagonal state-space model as a plain loop.

use std::fmt;

use super::recurrence::tensors;
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, S4dPlan, check_binding};
use crate::shader::{Shader, ShaderError, Storage};
use crate::tensor::expect_optional;
use crate::{Caps, DType, Element, Error, Gpu, PlanError, S4dInputs, S4dSpec, Tensor};

/// How to run an [`S4dSpec`] with a lane for each sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SequentialS4dPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Pairs of states of a lane.
    pub pairs: u32,
    /// Samples of a dispatch.
    pub steps: u32,
    /// Numbers of a mode, of which the loop reads two.
    pub stride: u32,
    /// How sequences and gates are stored.
    pub storage: Storage,
    /// Whether sequences are gated.
    pub pre_gate: bool,
    /// Whether the result is gated.
    pub post_gate: bool,
    /// Whether there is a `D`.
    pub skip: bool,
}

/// Samples of one dispatch at most: drivers end kernels that run for seconds.
const DISPATCH_STEPS: u32 = 1 << 14;

impl SequentialS4dPlan {
    /// Plans a loop. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &S4dSpec, caps: &Caps) -> Result<Self, PlanError> {
        let modes = S4dPlan::new(spec, caps)?;
        let (conv, pairs) = (&spec.conv, spec.pairs as u32);
        check_binding("u", conv.rows() * conv.length, conv.dtype, caps)?;
        let steps = caps.loop_turns.map_or(DISPATCH_STEPS, |turns| (turns / 2 / (1 + pairs)).max(1));
        Ok(Self {
            lanes: 64.min(caps.workgroup_lanes),
            pairs,
            steps: steps.min(DISPATCH_STEPS),
            stride: 1 + modes.bits,
            storage: Storage::new(conv.dtype, caps.f16, false),
            pre_gate: conv.pre_gate,
            post_gate: conv.post_gate,
            skip: conv.skip,
        })
    }
}

impl Plan for SequentialS4dPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = "baseline/s4d_sequential";
        vec![Footprint { kernel, lanes: self.lanes, workgroup_bytes: 0, storage_buffers: 7 }]
    }
}

impl fmt::Display for SequentialS4dPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, pairs, storage, .. } = self;
        write!(f, "a loop, a lane a sequence with {pairs} pairs of states; {lanes} lanes, {storage}")
    }
}

params! {
    /// `baseline/s4d_sequential`.
    S4dParams { rows: u32, channels: u32, length: u32, first: u32, end: u32, stride: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &SequentialS4dPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = yardstick("baseline/s4d_sequential")
        .set("LANES", plan.lanes)
        .set("PAIRS", plan.pairs)
        .set("HAS_SKIP", plan.skip)
        .set("HAS_PRE", plan.pre_gate)
        .set("HAS_POST", plan.post_gate);
    Ok(vec![tensors(linker, &["x", "pre", "post", "y"], plan.storage).link()?])
}

/// A diagonal state-space model as a loop, one lane a sequence.
#[derive(Clone, Debug)]
pub struct SequentialS4d {
    gpu: Gpu,
    spec: S4dSpec,
    plan: SequentialS4dPlan,
    kernel: Kernel,
}

impl SequentialS4d {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: S4dSpec) -> Result<Self, Error> {
        let plan = SequentialS4dPlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SequentialS4dPlan {
        &self.plan
    }

    /// The states of all sequences.
    pub fn scratch(&self) -> Result<Tensor<f32>, Error> {
        Tensor::zeros(&self.gpu, &self.states_shape())
    }

    fn states_shape(&self) -> [usize; 3] {
        [self.spec.conv.rows(), self.spec.pairs, 2]
    }

    /// Records the loop, whose modes are those of [`S4d::modes`](crate::S4d::modes).
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: S4dInputs<'_, T>,
        y: &Tensor<T>,
        states: &Tensor<f32>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        let (conv, shape) = (&spec.conv, spec.conv.shape());
        inputs.u.expect(gpu, "u", conv.dtype, &shape)?;
        let modes = [conv.channels, spec.pairs, plan.stride as usize, 2];
        inputs.modes.expect(gpu, "the modes", DType::F32, &modes)?;
        expect_optional(gpu, inputs.skip, "D", conv.skip, &[conv.channels])?;
        expect_optional(gpu, inputs.pre, "the gate of u", conv.pre_gate, &shape)?;
        expect_optional(gpu, inputs.post, "the gate of y", conv.post_gate, &shape)?;
        y.expect(gpu, "y", conv.dtype, &shape)?;
        states.expect(gpu, "the states", DType::F32, &self.states_shape())?;
        encoder.clear_buffer(states.buffer(), 0, None);
        let [pre, post] = [inputs.pre, inputs.post].map(|gate| gate.map_or(gpu.unused(), Tensor::buffer));
        let skip = inputs.skip.map_or(gpu.unused(), Tensor::buffer);
        let buffers =
            [inputs.u.buffer(), inputs.modes.buffer(), skip, pre, post, states.buffer(), y.buffer()];
        let (rows, length) = (conv.rows() as u32, conv.length as u32);
        for first in (0..length).step_by(plan.steps as usize) {
            let params = S4dParams {
                groups: rows.div_ceil(plan.lanes),
                rows,
                channels: conv.channels as u32,
                length,
                first,
                end: length.min(first + plan.steps),
                stride: plan.stride,
            };
            kernel.dispatch(gpu, encoder, &params, &buffers)?;
        }
        Ok(())
    }
}
