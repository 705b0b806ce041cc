//! Diagonal recurrences in the terms of their yardsticks, and selective scans and state-space duality as a plain loop.

use std::fmt;

use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::spec::wrong;
use crate::{
    Caps, CoefficientTensor, Coefficients, DType, DeltaRuleInputs, DeltaRuleSpec, Element, Error, Gate, Gpu,
    LinearAttentionInputs, LinearAttentionSpec, PlanError, SelectiveScanInputs, SelectiveScanOutputs,
    SelectiveScanSpec, Sequences, Skip, SpecError, SsdInputs, SsdOutputs, SsdSpec, Tensor,
};

/// How states decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum RecurrenceDecay {
    /// By the size of a step.
    Sized {
        /// All states of a channel at one rate.
        one_rate: bool,
        /// Whether sizes pass through a softplus.
        softplus: bool,
    },
    /// By a given logarithm.
    Given(Gate),
}

/// A diagonal recurrence in the terms of its kernels, in which channels are those of all heads; distances are in
/// elements.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Recurrence {
    pub dtype: DType,
    pub batch: usize,
    pub channels: usize,
    pub length: usize,
    pub states: usize,
    /// Channels that share a step size, a `D`, and coefficients.
    pub share: usize,
    pub skip_share: usize,
    pub group_channels: usize,
    /// Of batches, channels and steps.
    pub x: [usize; 3],
    /// Of batches, heads and steps.
    pub dt: [usize; 3],
    /// Of batches, groups, states and steps.
    pub b: [usize; 4],
    /// How `dt` is stored, which is the decays themselves where these are given.
    pub dt_type: DType,
    pub decay: RecurrenceDecay,
    /// Whether values replace what states hold under their key, by a share.
    pub delta: bool,
    /// Of what is read from the states.
    pub scale: f32,
    pub gated: bool,
}

/// Fails with what an option is if it is none that yardsticks have.
fn without(options: &[(&'static str, bool)]) -> Result<(), SpecError> {
    match options.iter().find(|(_, on)| *on) {
        Some((name, _)) => Err(wrong(name, &true, "false: the yardsticks do without")),
        None => Ok(()),
    }
}

impl Recurrence {
    pub fn selective_scan(spec: &SelectiveScanSpec) -> Result<Self, SpecError> {
        spec.check()?;
        let constant = |coefficients: Coefficients| !coefficients.vary();
        without(&[
            ("complex", spec.complex),
            ("B constant", constant(spec.b)),
            ("C constant", constant(spec.c)),
        ])?;
        let SelectiveScanSpec { dtype, batch, channels, length, state_dim: states, .. } = *spec;
        let steps = [channels * length, length, 1];
        Ok(Self {
            dtype,
            batch,
            channels,
            length,
            states,
            share: 1,
            skip_share: 1,
            group_channels: channels / spec.groups(),
            x: steps,
            dt: steps,
            b: [spec.groups() * states * length, states * length, length, 1],
            dt_type: dtype,
            decay: RecurrenceDecay::Sized { one_rate: false, softplus: spec.delta_softplus },
            delta: false,
            scale: 1.0,
            gated: spec.gated,
        })
    }

    pub fn ssd(spec: &SsdSpec) -> Result<Self, SpecError> {
        spec.check()?;
        plain_ssd(spec)?;
        let SsdSpec { dtype, batch, length, heads, head_dim, groups, state_dim: states, .. } = *spec;
        let channels = heads * head_dim;
        Ok(Self {
            dtype,
            batch,
            channels,
            length,
            states,
            share: head_dim,
            skip_share: if spec.skip == Skip::PerChannel { 1 } else { head_dim },
            group_channels: channels / groups,
            x: [length * channels, 1, channels],
            dt: [length * heads, 1, heads],
            b: [length * groups * states, states, 1, groups * states],
            dt_type: dtype,
            decay: RecurrenceDecay::Sized { one_rate: true, softplus: spec.dt_softplus },
            delta: false,
            scale: 1.0,
            gated: spec.gated,
        })
    }

    /// Values are the channels, keys and queries the coefficients of each head.
    pub fn linear_attention(spec: &LinearAttentionSpec) -> Result<Self, SpecError> {
        spec.check()?;
        whole(&spec.sequences, spec.length)?;
        let LinearAttentionSpec { dtype, batch, length, heads, key_dim, value_dim, gate, .. } = *spec;
        let (channels, keys) = (heads * value_dim, heads * key_dim);
        let of_key = if gate == Gate::PerKey { key_dim } else { 1 };
        Ok(Self {
            dtype,
            batch,
            channels,
            length,
            states: key_dim,
            share: value_dim,
            skip_share: value_dim,
            group_channels: value_dim,
            x: [length * channels, 1, channels],
            dt: [length * heads * of_key, of_key, heads * of_key],
            b: [length * keys, key_dim, 1, keys],
            dt_type: DType::F32,
            decay: RecurrenceDecay::Given(gate),
            delta: false,
            scale: spec.scale_value(),
            gated: false,
        })
    }

    /// Linear attention whose values are residuals.
    pub fn delta_rule(spec: &DeltaRuleSpec) -> Result<Self, SpecError> {
        spec.check()?;
        let DeltaRuleSpec { dtype, batch, length, heads, key_dim, value_dim, gated, .. } = *spec;
        let gate = if gated { Gate::PerStep } else { Gate::Constant };
        let attention = LinearAttentionSpec {
            scale: Some(spec.scale_value()),
            sequences: spec.sequences.clone(),
            ..LinearAttentionSpec::new(dtype, batch, length, heads, (key_dim, value_dim), gate)
        };
        // Shares lie as decays do.
        Ok(Self { dt: [length * heads, 1, heads], delta: true, ..Self::linear_attention(&attention)? })
    }

    pub fn rows(&self) -> usize {
        self.batch * self.channels
    }

    /// Whether each state of each step has a decay of its own, given.
    pub fn keyed(&self) -> bool {
        self.decay == RecurrenceDecay::Given(Gate::PerKey)
    }

    /// Whether decays come from numbers of channels or heads.
    pub fn has_rates(&self) -> bool {
        matches!(self.decay, RecurrenceDecay::Sized { .. } | RecurrenceDecay::Given(Gate::Constant))
    }

    /// Whether all states of a channel decay alike.
    pub fn one_rate(&self) -> bool {
        !matches!(self.decay, RecurrenceDecay::Sized { one_rate: false, .. })
    }

    pub fn check_bindings(&self, caps: &Caps) -> Result<(), PlanError> {
        check_binding("x", self.rows() * self.length, self.dtype, caps)?;
        let coefficients = self.batch * self.channels / self.group_channels * self.states * self.length;
        check_binding("b", coefficients, self.dtype, caps)?;
        let decays = self.batch * self.channels / self.share * self.length;
        check_binding("dt", decays * if self.keyed() { self.states } else { 1 }, self.dt_type, caps)?;
        check_binding("the states", self.rows() * self.states, DType::F32, caps)
    }

    /// Numbers of `a`.
    fn rates(&self) -> usize {
        self.channels / self.share * if self.one_rate() { 1 } else { self.states }
    }

    /// Where `D` and the biases lie behind `a`, and how many numbers all are.
    pub fn packed(&self) -> [usize; 3] {
        let skip = self.rates();
        let bias = skip + self.channels / self.skip_share;
        [skip, bias, bias + self.channels / self.share]
    }

    pub fn params(
        &self,
        (lanes, invocations): (u32, usize),
        steps: [u32; 2],
        window: u32,
    ) -> RecurrenceParams {
        let [first_skip, first_bias, _] = self.packed().map(|place| place as u32);
        let ([x, dt], b) = ([self.x, self.dt].map(|of| of.map(|at| at as u32)), self.b.map(|at| at as u32));
        RecurrenceParams {
            groups: (invocations as u32).div_ceil(lanes),
            rows: self.rows() as u32,
            channels: self.channels as u32,
            share: self.share as u32,
            skip_share: self.skip_share as u32,
            group_channels: self.group_channels as u32,
            length: self.length as u32,
            first: steps[0],
            end: steps[1],
            window,
            x_batch: x[0],
            x_channel: x[1],
            x_step: x[2],
            dt_batch: dt[0],
            dt_head: dt[1],
            dt_step: dt[2],
            b_batch: b[0],
            b_group: b[1],
            b_state: b[2],
            b_step: b[3],
            first_skip,
            first_bias,
            scale: self.scale,
        }
    }
}

/// Fails if state-space duality has options that its yardsticks have not.
pub(super) fn plain_ssd(spec: &SsdSpec) -> Result<(), SpecError> {
    without(&[("dt limits", spec.dt_limits.is_some())])?;
    whole(&spec.sequences, spec.length)
}

/// Fails if there are several sequences to a batch, or no steps.
pub(super) fn whole(sequences: &Sequences, length: usize) -> Result<(), SpecError> {
    without(&[("several sequences", *sequences != Sequences::Whole)])?;
    if length == 0 { Err(wrong("length", &0, "at least 1")) } else { Ok(()) }
}

params! {
    /// `baseline/recurrence`.
    RecurrenceParams {
        rows: u32, channels: u32, share: u32, skip_share: u32, group_channels: u32,
        length: u32, first: u32, end: u32, window: u32,
        x_batch: u32, x_channel: u32, x_step: u32,
        dt_batch: u32, dt_head: u32, dt_step: u32,
        b_batch: u32, b_group: u32, b_state: u32, b_step: u32,
        first_skip: u32, first_bias: u32, scale: f32,
    }
}

/// Steps of one dispatch of the sequential kernel at most: drivers end kernels that run for seconds.
const DISPATCH_STEPS: u32 = 1 << 14;

/// Steps of one dispatch, whose loops over steps and states a driver may let take so many turns.
pub(super) fn dispatch_steps(of: &Recurrence, caps: &Caps) -> u32 {
    let states = of.states as u32;
    let steps = caps.loop_turns.map_or(DISPATCH_STEPS, |turns| (turns / 2 / (1 + states)).max(1));
    steps.min(DISPATCH_STEPS)
}

/// How to run a [`SelectiveScanSpec`] or an [`SsdSpec`] with a lane for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SequentialRecurrencePlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// States of a lane.
    pub states: u32,
    /// Steps of a dispatch.
    pub steps: u32,
    /// How tensors with something for each step are stored.
    pub storage: Storage,
    /// Whether all states of a channel decay alike.
    pub one_decay: bool,
    /// Whether step sizes pass through a softplus.
    pub softplus: bool,
    /// Whether the result is gated.
    pub gated: bool,
}

impl SequentialRecurrencePlan {
    /// Plans a selective scan. Fails if the spec is wrong or has options that yardsticks have not, or a tensor exceeds a
    /// binding.
    pub fn selective_scan(spec: &SelectiveScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::selective_scan(spec)?, caps)
    }

    /// Plans state-space duality. Fails alike.
    pub fn ssd(spec: &SsdSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::new(&Recurrence::ssd(spec)?, caps)
    }

    fn new(of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        of.check_bindings(caps)?;
        Ok(Self {
            lanes: 64.min(caps.workgroup_lanes),
            states: of.states as u32,
            steps: dispatch_steps(of, caps),
            storage: Storage::new(of.dtype, caps.f16, false),
            one_decay: of.one_rate(),
            softplus: matches!(of.decay, RecurrenceDecay::Sized { softplus: true, .. }),
            gated: of.gated,
        })
    }
}

impl Plan for SequentialRecurrencePlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = "baseline/recurrence_sequential";
        vec![Footprint { kernel, lanes: self.lanes, workgroup_bytes: 0, storage_buffers: 8 }]
    }
}

impl fmt::Display for SequentialRecurrencePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, states, storage, .. } = self;
        write!(f, "a loop, a lane a channel with {states} states; {lanes} lanes, {storage}")
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn sequential_shaders(plan: &SequentialRecurrencePlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = yardstick("baseline/recurrence_sequential")
        .module("baseline/recurrence")
        .module("baseline/recurrence_steps")
        .module("common/activation")
        .set("LANES", plan.lanes)
        .set("STATES", plan.states)
        .set("ONE_DECAY", plan.one_decay)
        .set("SOFTPLUS", plan.softplus)
        .set("GATED", plan.gated);
    Ok(vec![tensors(linker, &["x", "dt", "b", "c", "z", "y"], plan.storage).link()?])
}

/// Defines what a step is.
pub(super) fn link_steps(linker: Linker, decay: RecurrenceDecay) -> Linker {
    match decay {
        RecurrenceDecay::Sized { one_rate, softplus } => linker
            .module("baseline/recurrence_steps")
            .module("common/activation")
            .set("ONE_DECAY", one_rate)
            .set("SOFTPLUS", softplus),
        RecurrenceDecay::Given(gate) => linker
            .module("baseline/recurrence_decays")
            .set("CONSTANT", gate == Gate::Constant)
            .set("KEYED", gate == Gate::PerKey),
    }
}

pub(super) fn tensors(linker: Linker, names: &[&'static str], storage: Storage) -> Linker {
    names.iter().fold(linker, |linker, name| linker.tensor(name, storage))
}

/// What the kernels of a recurrence read.
pub(super) struct Given<'a> {
    pub x: &'a wgpu::Buffer,
    pub dt: &'a wgpu::Buffer,
    pub b: &'a wgpu::Buffer,
    pub c: &'a wgpu::Buffer,
    pub z: &'a wgpu::Buffer,
    /// Shares of what states lack, of the delta rule.
    pub beta: &'a wgpu::Buffer,
    pub a: Option<&'a Tensor<f32>>,
    pub skip: Option<&'a Tensor<f32>>,
    pub bias: Option<&'a Tensor<f32>>,
    pub initial: Option<&'a Tensor<f32>>,
}

impl<'a> Given<'a> {
    pub fn selective_scan<T: Element>(gpu: &'a Gpu, inputs: &SelectiveScanInputs<'a, T>) -> Self {
        let steps = |tensor: CoefficientTensor<'a, T>| match tensor {
            CoefficientTensor::PerStep(tensor) => tensor.buffer(),
            CoefficientTensor::PerChannel(tensor) => tensor.buffer(),
        };
        Self {
            x: inputs.u.buffer(),
            dt: inputs.delta.buffer(),
            b: steps(inputs.b),
            c: steps(inputs.c),
            z: inputs.z.map_or(gpu.unused(), Tensor::buffer),
            beta: gpu.unused(),
            a: Some(inputs.a),
            skip: inputs.skip,
            bias: inputs.delta_bias,
            initial: inputs.initial,
        }
    }

    /// `constant` decays are what channels have.
    pub fn linear_attention<T: Element>(
        gpu: &'a Gpu,
        inputs: &LinearAttentionInputs<'a, T>,
        constant: bool,
    ) -> Self {
        let unused = gpu.unused();
        Self {
            x: inputs.v.buffer(),
            dt: if constant { unused } else { inputs.g.buffer() },
            b: inputs.k.buffer(),
            c: inputs.q.buffer(),
            z: unused,
            beta: unused,
            a: constant.then_some(inputs.g),
            skip: None,
            bias: None,
            initial: inputs.initial,
        }
    }

    pub fn delta_rule<T: Element>(gpu: &'a Gpu, inputs: &DeltaRuleInputs<'a, T>) -> Self {
        let unused = gpu.unused();
        Self {
            x: inputs.v.buffer(),
            dt: inputs.g.map_or(unused, Tensor::buffer),
            b: inputs.k.buffer(),
            c: inputs.q.buffer(),
            z: unused,
            beta: inputs.beta.buffer(),
            a: None,
            skip: None,
            bias: None,
            initial: inputs.initial,
        }
    }

    pub fn ssd<T: Element>(gpu: &'a Gpu, inputs: &SsdInputs<'a, T>) -> Self {
        Self {
            x: inputs.x.buffer(),
            dt: inputs.dt.buffer(),
            b: inputs.b.buffer(),
            c: inputs.c.buffer(),
            z: inputs.z.map_or(gpu.unused(), Tensor::buffer),
            beta: gpu.unused(),
            a: Some(inputs.a),
            skip: inputs.d,
            bias: inputs.dt_bias,
            initial: inputs.initial,
        }
    }

    /// Copies what belongs to channels into one tensor, as the eight that a kernel can bind are too few. What is absent
    /// is 0 there from the beginning.
    pub fn pack(&self, encoder: &mut wgpu::CommandEncoder, of: &Recurrence, packed: &Tensor<f32>) {
        let [skip, bias, _] = of.packed();
        for (tensor, place) in [(self.a, 0), (self.skip, skip), (self.bias, bias)] {
            if let Some(tensor) = tensor {
                copy(encoder, tensor, packed.buffer(), place);
            }
        }
    }

    /// Copies the states before the first steps, which are 0 where none are given.
    pub fn begin(&self, encoder: &mut wgpu::CommandEncoder, of: &Recurrence, to: &wgpu::Buffer) {
        match self.initial {
            Some(initial) => copy(encoder, initial, to, 0),
            None => encoder.clear_buffer(to, 0, Some(4 * (of.rows() * of.states) as u64)),
        }
    }
}

pub(super) fn copy(encoder: &mut wgpu::CommandEncoder, from: &Tensor<f32>, to: &wgpu::Buffer, place: usize) {
    encoder.copy_buffer_to_buffer(from.buffer(), 0, to, 4 * place as u64, 4 * from.len() as u64);
}

/// A selective scan or state-space duality as a loop, one lane a channel: no work is done twice, and few channels leave a
/// GPU idle.
#[derive(Clone, Debug)]
pub struct SequentialRecurrence {
    gpu: Gpu,
    of: Recurrence,
    plan: SequentialRecurrencePlan,
    kernel: Kernel,
}

impl SequentialRecurrence {
    /// Plans a selective scan for this GPU and compiles what the plan needs.
    pub fn selective_scan(gpu: &Gpu, spec: SelectiveScanSpec) -> Result<Self, Error> {
        let plan = SequentialRecurrencePlan::selective_scan(&spec, gpu.caps())?;
        Self::new(gpu, Recurrence::selective_scan(&spec).map_err(PlanError::from)?, plan)
    }

    /// Plans state-space duality for this GPU and compiles what the plan needs.
    pub fn ssd(gpu: &Gpu, spec: &SsdSpec) -> Result<Self, Error> {
        let plan = SequentialRecurrencePlan::ssd(spec, gpu.caps())?;
        Self::new(gpu, Recurrence::ssd(spec).map_err(PlanError::from)?, plan)
    }

    fn new(gpu: &Gpu, of: Recurrence, plan: SequentialRecurrencePlan) -> Result<Self, Error> {
        let [kernel] = compile_array(gpu, &sequential_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), of, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SequentialRecurrencePlan {
        &self.plan
    }

    /// What the kernel reads of channels, in one tensor.
    pub fn scratch(&self) -> Result<Tensor<f32>, Error> {
        Tensor::zeros(&self.gpu, &[self.of.packed()[2]])
    }

    /// Records a selective scan of the spec that this was made from.
    pub fn encode_selective_scan<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &SelectiveScanSpec,
        inputs: SelectiveScanInputs<'_, T>,
        (outputs, scratch): (&SelectiveScanOutputs<T>, &Tensor<f32>),
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, spec)?;
        outputs.check(&self.gpu, spec)?;
        let results = [outputs.out.buffer(), outputs.last.buffer()];
        self.encode(encoder, &Given::selective_scan(&self.gpu, &inputs), results, scratch)
    }

    /// Records state-space duality of the spec that this was made from.
    pub fn encode_ssd<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        spec: &SsdSpec,
        inputs: SsdInputs<'_, T>,
        (outputs, scratch): (&SsdOutputs<T>, &Tensor<f32>),
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, spec)?;
        outputs.check(&self.gpu, spec)?;
        let results = [outputs.out.buffer(), outputs.last.buffer()];
        self.encode(encoder, &Given::ssd(&self.gpu, &inputs), results, scratch)
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        given: &Given<'_>,
        [y, last]: [&wgpu::Buffer; 2],
        packed: &Tensor<f32>,
    ) -> Result<(), Error> {
        let Self { gpu, of, plan, kernel } = self;
        packed.expect(gpu, "what belongs to channels", DType::F32, &[of.packed()[2]])?;
        given.pack(encoder, of, packed);
        given.begin(encoder, of, last);
        let Given { x, dt, b, c, z, .. } = *given;
        let length = of.length as u32;
        for first in (0..length).step_by(plan.steps as usize) {
            let params = of.params((plan.lanes, of.rows()), [first, length.min(first + plan.steps)], 0);
            kernel.dispatch(gpu, encoder, &params, &[x, dt, b, c, z, packed.buffer(), y, last])?;
        }
        Ok(())
    }
}
