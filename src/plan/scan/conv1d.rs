//! Plans of the causal depthwise convolution.

use std::fmt;

use crate::caps::Caps;
use crate::plan::scan::SumPlan;
use crate::plan::{Footprint, Plan, check_binding, check_caps, check_turns};
use crate::shader::Storage;
use crate::{Conv1dSpec, DType, Mamba2Spec, PlanError};

/// How to run a [`Conv1dSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Conv1dPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Quads of consecutive outputs that a lane takes.
    pub quads: u32,
    /// Taps.
    pub width: u32,
    /// How `x` and `y` are stored.
    pub storage: Storage,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether outputs pass through silu.
    pub silu: bool,
    /// Whether rows hold several sequences.
    pub sequences: bool,
    /// Whether these have states of their own.
    pub packed: bool,
    /// Whether an initial state is given.
    pub initial: bool,
    /// Whether channels lie innermost, and a lane takes four of them, and not steps.
    pub channels_last: bool,
}

/// Lanes of a workgroup: they share nothing, so a few subgroups of any size will do.
const LANES: u32 = 64;

/// Quads of a lane: the inputs in front of the first one are read twice.
const QUADS: u32 = 2;

impl Conv1dPlan {
    /// Plans a convolution. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &Conv1dSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::in_parts(spec, &[spec.channels], caps)
    }

    /// Plans the convolution of a Mamba-2 core, whose channels go into three tensors. Fails if the spec is wrong or a tensor
    /// exceeds a binding.
    pub fn mamba2(spec: &Mamba2Spec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::in_parts(&spec.conv(), &spec.parts(), caps)
    }

    /// The same where the channels of `y` lie in several tensors, so many in each; they lie innermost then.
    pub(crate) fn in_parts(spec: &Conv1dSpec, parts: &[usize], caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a convolution", caps)?;
        let elements = spec.rows() * spec.length;
        for tensor in ["x", "y"] {
            check_binding(tensor, elements, spec.dtype, caps)?;
        }
        check_binding("weight", spec.channels * spec.width, DType::F32, caps)?;
        check_binding("the state", spec.state_shape().iter().product(), DType::F32, caps)?;
        let starts = spec.packed.map_or(0, |count| count + 1);
        check_binding("the sequences", spec.batch * spec.length + starts, DType::F32, caps)?;
        let vectors = if spec.channels_last {
            parts.iter().all(|part| part.is_multiple_of(4))
        } else {
            spec.length.is_multiple_of(4)
        };
        Ok(Self {
            lanes: LANES,
            quads: QUADS,
            width: spec.width as u32,
            storage: Storage::new(spec.dtype, caps.f16, vectors),
            bias: spec.bias,
            silu: spec.silu,
            sequences: spec.sequences,
            packed: spec.packed.is_some(),
            initial: spec.initial,
            channels_last: spec.channels_last,
        })
    }

    /// Lanes that take a row.
    pub(crate) fn shares(&self, spec: &Conv1dSpec) -> u32 {
        (spec.length as u32).div_ceil(4 * self.quads)
    }

    /// The kernel of the convolution.
    pub(crate) fn kernel(&self) -> &'static str {
        if self.channels_last { "scan/conv1d_last" } else { "scan/conv1d" }
    }

    /// The kernel of the gradients.
    pub(crate) fn backward_kernel(&self) -> &'static str {
        if self.channels_last { "scan/conv1d_last_backward" } else { "scan/conv1d_backward" }
    }
}

impl Plan for Conv1dPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let storage_buffers = 6 + u32::from(self.sequences);
        vec![Footprint { kernel: self.kernel(), lanes: self.lanes, workgroup_bytes: 0, storage_buffers }]
    }
}

impl fmt::Display for Conv1dPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, quads, storage, channels_last, .. } = self;
        let of = if *channels_last { "four channels" } else { "a row" };
        write!(f, "one pass; {lanes} lanes × {} steps of {of}, {storage}", 4 * quads)
    }
}

/// How to run the backward pass of a [`Conv1dSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Conv1dBackwardPlan {
    /// The forward pass, whose sums are computed again.
    pub forward: Conv1dPlan,
    /// Steps of a chunk, which a workgroup takes, or a lane where channels lie innermost.
    pub chunk: u32,
    /// Chunks of a row.
    pub chunks: u32,
    /// How what the workgroups leave apart is summed.
    pub sum: SumPlan,
}

/// Workgroups that fill a large GPU.
const FULL: u32 = 1024;

/// The fewest steps of a chunk that a lane takes: at its end sums are computed again.
const LANE_CHUNK: u32 = 64;

impl Conv1dBackwardPlan {
    /// Plans a backward pass. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &Conv1dSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::in_parts(spec, &[spec.channels], caps)
    }

    /// Plans the gradients of the convolution of a Mamba-2 core. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn mamba2(spec: &Mamba2Spec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::in_parts(&spec.conv(), &spec.parts(), caps)
    }

    /// The same where the channels of `dy` lie in several tensors, so many in each.
    pub(crate) fn in_parts(spec: &Conv1dSpec, parts: &[usize], caps: &Caps) -> Result<Self, PlanError> {
        let forward = Conv1dPlan::in_parts(spec, parts, caps)?;
        let length = spec.length as u32;
        let (rows, tile) = if spec.channels_last {
            // A workgroup takes chunks of as many fours of channels as it has lanes.
            ((spec.batch * spec.channels.div_ceil(4)).div_ceil(forward.lanes as usize), LANE_CHUNK)
        } else {
            (spec.rows(), forward.lanes * forward.quads * 4)
        };
        let wanted = FULL.div_ceil(rows as u32).min(length.div_ceil(tile));
        let chunk = length.div_ceil(wanted).next_multiple_of(tile);
        let plan = Self { forward, chunk, chunks: length.div_ceil(chunk), sum: SumPlan::new() };
        let turns = if spec.channels_last { 8 * chunk + 64 } else { chunk / tile * 32 + forward.lanes };
        check_turns("a convolution", turns.into(), caps)?;
        plan.sum.check(plan.terms(spec), caps)?;
        check_binding("the parts of the gradients", plan.partials(spec), DType::F32, caps)?;
        Ok(plan)
    }

    /// Parts of which the gradient of a parameter is the sum.
    pub fn terms(&self, spec: &Conv1dSpec) -> usize {
        spec.batch * self.chunks as usize
    }

    /// Numbers that workgroups leave apart: parts of dweight, those of dbias, and the gradient of the initial state.
    pub fn partials(&self, spec: &Conv1dSpec) -> usize {
        self.terms(spec) * spec.channels * (spec.width + 1) + spec.state_shape().iter().product::<usize>()
    }
}

impl Plan for Conv1dBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let Conv1dPlan { lanes, sequences, channels_last, .. } = self.forward;
        let kernel = self.forward.backward_kernel();
        let storage_buffers = 7 + u32::from(sequences);
        let workgroup_bytes = if channels_last { 0 } else { lanes * 16 };
        vec![Footprint { kernel, lanes, workgroup_bytes, storage_buffers }, self.sum.footprint()]
    }
}

impl fmt::Display for Conv1dBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { forward, chunk, chunks, .. } = self;
        write!(
            f,
            "{chunks} chunks of {chunk} steps a row, parts of the parameters' gradients summed after; "
        )?;
        let Conv1dPlan { lanes, quads, storage, channels_last, .. } = forward;
        if *channels_last {
            write!(f, "{lanes} lanes × four channels, {storage}")
        } else {
            write!(f, "{lanes} lanes × {} steps, {storage}", 4 * quads)
        }
    }
}

/// How to take one step of a [`Conv1dSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Conv1dStepPlan {
    /// Invocations of a workgroup, each of which takes four rows.
    pub lanes: u32,
    /// Taps.
    pub width: u32,
    /// How `x` and `y` are stored.
    pub storage: Storage,
    /// Whether there is a bias.
    pub bias: bool,
    /// Whether outputs pass through silu.
    pub silu: bool,
}

impl Conv1dStepPlan {
    /// Plans a step; the spec's length, sequences and initial state mean nothing to it. Fails if the spec is wrong or a
    /// tensor exceeds a binding.
    pub fn new(spec: &Conv1dSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        let spec = Self::of_steps(spec);
        let Conv1dPlan { lanes, width, bias, silu, .. } = Conv1dPlan::new(&spec, caps)?;
        // All rows of y are taken as one, so that its vectors start at multiples of four.
        Ok(Self { lanes, width, storage: Storage::new(spec.dtype, caps.f16, true), bias, silu })
    }
}

impl Conv1dStepPlan {
    /// A convolution of one step of every sequence.
    pub(crate) fn of_steps(spec: &Conv1dSpec) -> Conv1dSpec {
        let batch = spec.states();
        Conv1dSpec { batch, length: 1, sequences: false, packed: None, channels_last: false, ..*spec }
    }
}

impl Plan for Conv1dStepPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = "scan/conv1d_step";
        vec![Footprint { kernel, lanes: self.lanes, workgroup_bytes: 0, storage_buffers: 5 }]
    }
}

impl fmt::Display for Conv1dStepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one pass; {} lanes × 4 rows, {}", self.lanes, self.storage)
    }
}
