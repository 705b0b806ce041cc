//! Plans of the selective scan.

use std::fmt;

use crate::caps::Caps;
use crate::plan::scan::SumPlan;
use crate::plan::{Exchange, Footprint, Plan, check_binding, check_caps};
use crate::shader::Storage;
use crate::spec::elements;
use crate::{DType, PlanError, SelectiveScanSpec};

/// How to run a [`SelectiveScanSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct SelectiveScanPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Neighbouring lanes that share a channel, each with four of its states.
    pub state_lanes: u32,
    /// How these lanes sum over the states.
    pub exchange: Exchange,
    /// Invocations of a workgroup that hands a row's states from chunk to chunk.
    pub carry_lanes: u32,
    /// How these lanes exchange what they scanned.
    pub carry_exchange: Exchange,
    /// How `u`, `delta`, `z` and `out` are stored.
    pub storage: Storage,
    /// How `B` and `C` are stored where they vary.
    pub coefficients: Storage,
    /// Whether `B` varies from step to step.
    pub b_varies: bool,
    /// Whether `C` varies from step to step.
    pub c_varies: bool,
    /// Whether states are complex.
    pub complex: bool,
    /// Whether `u` skips the recurrence.
    pub skip: bool,
    /// Whether the result is gated.
    pub gated: bool,
    /// Whether a bias is added to `delta`.
    pub delta_bias: bool,
    /// Whether `delta` passes through a softplus.
    pub delta_softplus: bool,
    /// Whether an initial state is given.
    pub initial: bool,
    /// Steps of a chunk, which a workgroup takes.
    pub chunk: u32,
    /// Chunks of a row. One: a single pass. More: three phases.
    pub chunks: u32,
}

/// Lanes of a workgroup: few, so that there are many, since lanes share nothing but the sum over a channel's states.
const LANES: u32 = 64;

/// States of a lane.
const LANE_STATES: usize = 4;

/// Workgroups that fill a large GPU; as for linear scans.
const FULL: u32 = 1024;

/// Steps below which a chunk costs more in maps than it gains.
const LEAST_CHUNK: u32 = 64;

/// Steps of a tile of the backward pass, whose states a lane keeps in registers.
const TILE: u32 = 8;

/// Numbers of the states before the tiles that a lane of the backward pass keeps in workgroup memory: 8 KiB a workgroup.
const MOST_STARTS: u32 = 32;

/// Subgroups have at least four lanes where totals go through workgroup memory.
const LEAST_SUBGROUP: u32 = 4;

impl SelectiveScanPlan {
    /// Plans a scan. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &SelectiveScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a selective scan", caps)?;
        let state_lanes = state_lanes(spec);
        let groups = (spec.batch * spec.groups()) as u32 * tiles(spec, state_lanes);
        let length = spec.length as u32;
        let wanted = FULL.div_ceil(groups).min(length.div_ceil(LEAST_CHUNK));
        let chunk = length.div_ceil(wanted).min(longest_chunk(state_lanes, caps)).next_multiple_of(TILE);
        let plan = Self::with_chunk(spec, caps, chunk)?;
        check_scratch("what the kernels of the scan share", plan.held(spec).end, caps)?;
        check_scratch("the maps of the chunks", plan.maps(spec), caps)?;
        Ok(plan)
    }

    fn with_chunk(spec: &SelectiveScanSpec, caps: &Caps, chunk: u32) -> Result<Self, PlanError> {
        let (length, state_lanes) = (spec.length as u32, state_lanes(spec));
        let chunks = length.div_ceil(chunk);
        let carry_lanes = chunks.next_power_of_two().clamp(32, 256.min(caps.workgroup_lanes));
        let stored = |run: usize| Storage::new(spec.dtype, caps.f16, run.is_multiple_of(4));
        let plan = Self {
            lanes: LANES,
            state_lanes,
            exchange: Exchange::choose(LANES, state_lanes, caps),
            carry_lanes,
            carry_exchange: Exchange::choose(carry_lanes, LEAST_SUBGROUP, caps),
            storage: stored(spec.length),
            coefficients: stored(spec.length * spec.parts()),
            b_varies: spec.b.vary(),
            c_varies: spec.c.vary(),
            complex: spec.complex,
            skip: spec.skip,
            gated: spec.gated,
            delta_bias: spec.delta_bias,
            delta_softplus: spec.delta_softplus,
            initial: spec.initial,
            chunk,
            chunks,
        };
        check_binding("u", spec.shape().iter().product(), spec.dtype, caps)?;
        let stored = |varies: bool| if varies { spec.dtype } else { DType::F32 };
        check_binding("B", spec.b_shape().iter().product(), stored(plan.b_varies), caps)?;
        check_binding("C", spec.c_shape().iter().product(), stored(plan.c_varies), caps)?;
        check_binding("the last states", spec.state_shape().iter().product(), DType::F32, caps)?;
        Ok(plan)
    }

    /// Whether chunks begin with given states.
    pub(crate) fn has_border(&self) -> bool {
        self.initial || self.chunks > 1
    }

    /// Workgroups that take a group's channels.
    pub(crate) fn tiles(&self, spec: &SelectiveScanSpec) -> u32 {
        tiles(spec, self.state_lanes)
    }

    /// Workgroups of a kernel that takes chunks.
    pub(crate) fn groups(&self, spec: &SelectiveScanSpec) -> u32 {
        (spec.batch * spec.groups()) as u32 * self.chunks * self.tiles(spec)
    }

    /// Where in the tensor that the kernels share lies what.
    pub(crate) fn held(&self, spec: &SelectiveScanSpec) -> Held {
        let lists = 1 + usize::from(!self.b_varies) + usize::from(!self.c_varies);
        let skip = lists * spec.channels * spec.state_dim * spec.parts();
        let border = skip + 2 * spec.channels;
        let borders = if self.has_border() { self.borders(spec) } else { 0 };
        Held { skip, border, end: border + borders }
    }

    /// Numbers of the states with which all chunks begin.
    fn borders(&self, spec: &SelectiveScanSpec) -> usize {
        spec.rows() * spec.parts() * self.chunks as usize
    }

    /// Numbers of the chunks' maps.
    pub(crate) fn maps(&self, spec: &SelectiveScanSpec) -> usize {
        if self.chunks == 1 { 0 } else { 2 * self.borders(spec) }
    }

    fn parts(&self) -> u32 {
        1 + u32::from(self.complex)
    }

    /// Bytes through which a sum over a channel's states goes.
    fn sum_bytes(&self) -> u32 {
        if self.exchange == Exchange::Workgroup { self.lanes * 16 } else { 0 }
    }

    fn pack(&self) -> Footprint {
        Footprint { kernel: "scan/selective_pack", lanes: self.lanes, workgroup_bytes: 0, storage_buffers: 7 }
    }

    fn reduce(&self, storage_buffers: u32) -> Footprint {
        let kernel = "scan/selective_reduce";
        Footprint { kernel, lanes: self.lanes, workgroup_bytes: 0, storage_buffers }
    }

    fn carry(&self) -> Footprint {
        let lanes = self.carry_lanes;
        let maps = if self.carry_exchange == Exchange::Workgroup { lanes } else { lanes / LEAST_SUBGROUP };
        let workgroup_bytes = maps * 8 * self.parts();
        Footprint { kernel: "scan/carry", lanes, workgroup_bytes, storage_buffers: 4 }
    }
}

/// Numbers in the tensor that the kernels of a forward pass share, counted from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// `D`, and the bias behind it; what belongs to states comes before.
    pub skip: usize,
    /// The states with which chunks begin.
    pub border: usize,
    /// All of it.
    pub end: usize,
}

fn state_lanes(spec: &SelectiveScanSpec) -> u32 {
    spec.state_dim.div_ceil(LANE_STATES).next_power_of_two() as u32
}

fn tiles(spec: &SelectiveScanSpec, state_lanes: u32) -> u32 {
    ((spec.channels / spec.groups()) as u32).div_ceil(LANES / state_lanes)
}

/// Steps whose loops the driver lets a lane take: a turn for each four, and for each the sum over the channel's lanes.
fn longest_chunk(state_lanes: u32, caps: &Caps) -> u32 {
    caps.loop_turns.map_or(u32::MAX / 2, |turns| turns / 2 / (2 + state_lanes) * 4).max(TILE)
}

fn check_scratch(name: &'static str, numbers: usize, caps: &Caps) -> Result<(), PlanError> {
    let elements = elements(name, &[numbers])?;
    check_binding(name, elements, DType::F32, caps)
}

impl Plan for SelectiveScanPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let scan = Footprint {
            kernel: "scan/selective_scan",
            lanes: self.lanes,
            workgroup_bytes: self.sum_bytes(),
            storage_buffers: 8,
        };
        match self.chunks {
            1 => vec![self.pack(), scan],
            _ => vec![self.pack(), self.reduce(6), self.carry(), scan],
        }
    }
}

impl fmt::Display for SelectiveScanPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chunks {
            1 => write!(f, "one pass")?,
            chunks => write!(f, "three phases, {chunks} chunks of {} steps a row", self.chunk)?,
        }
        let Self { lanes, state_lanes, exchange, storage, .. } = self;
        write!(
            f,
            "; {lanes} lanes, {state_lanes} a channel with 4 states each, summed through {exchange}; {storage}"
        )
    }
}

/// How much of a scan its backward pass takes at a time, or in how many parts, along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SelectiveScanSlice {
    /// Batches.
    pub batches: u32,
    /// Groups of channels that share coefficients.
    pub groups: u32,
    /// Tiles of a group's channels, which a workgroup takes.
    pub tiles: u32,
    /// Chunks of a row.
    pub chunks: u32,
}

impl SelectiveScanSlice {
    /// In the order in which slices are made shorter.
    fn from_axes([batches, groups, tiles, chunks]: [u32; 4]) -> Self {
        Self { batches, groups, tiles, chunks }
    }

    fn axes(self) -> [u32; 4] {
        [self.batches, self.groups, self.tiles, self.chunks]
    }

    /// How many there are, where this is their number along each axis.
    pub fn count(self) -> u32 {
        self.axes().into_iter().product()
    }
}

/// How to run the backward pass of a [`SelectiveScanSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SelectiveScanBackwardPlan {
    /// The forward pass in the chunks of the backward pass, whose states are computed again.
    pub forward: SelectiveScanPlan,
    /// Tiles of eight steps in a chunk: as many as workgroup memory holds a state before each of.
    pub step_tiles: u32,
    /// The largest slice: the kernels run for one after the other, so that what they share can be bound.
    pub slice: SelectiveScanSlice,
    /// Slices along each axis. Where there are several of a row, the states before them are computed beforehand.
    pub slices: SelectiveScanSlice,
    /// How what the workgroups leave apart is summed.
    pub sum: SumPlan,
}

impl SelectiveScanBackwardPlan {
    /// Plans a backward pass. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &SelectiveScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a selective scan's backward pass", caps)?;
        // The states before the tiles, the terms of shared coefficients, and the sums over states.
        let tile_bytes = LANES * 16 * spec.parts() as u32;
        let other_bytes = LANES * (64 + 16);
        let fitting = caps.workgroup_bytes.saturating_sub(other_bytes) / tile_bytes;
        if fitting == 0 {
            return Err(PlanError::TooSmall {
                kernel: "a selective scan's backward pass",
                resource: "bytes of workgroup memory",
                needed: u64::from(other_bytes + tile_bytes),
                limit: u64::from(caps.workgroup_bytes),
            });
        }
        let step_tiles = fitting.min(MOST_STARTS / 4 / spec.parts() as u32);
        let plan = Self::whole(spec, caps, step_tiles)?.sliced(spec, caps);
        plan.sum.check(plan.terms().max(plan.slice.tiles as usize), caps)?;
        check_scratch("what the kernels of a slice share", plan.held(spec).end, caps)?;
        check_scratch("the maps of a slice's chunks", plan.maps(spec), caps)?;
        check_scratch("the gradient before the gate", plan.gated(spec), caps)?;
        check_scratch("the states before the slices", plan.starts(spec), caps)?;
        Ok(plan)
    }

    /// One slice of everything, with chunks of so many tiles.
    fn whole(spec: &SelectiveScanSpec, caps: &Caps, step_tiles: u32) -> Result<Self, PlanError> {
        let forward = SelectiveScanPlan::with_chunk(spec, caps, step_tiles * TILE)?;
        let slice = SelectiveScanSlice {
            batches: spec.batch as u32,
            groups: spec.groups() as u32,
            tiles: forward.tiles(spec),
            chunks: forward.chunks,
        };
        let slices = SelectiveScanSlice::from_axes([1; 4]);
        Ok(Self { forward, step_tiles, slice, slices, sum: SumPlan::new() })
    }

    /// Whether what the kernels of such slices share can be bound.
    fn fits(self, slice: [u32; 4], spec: &SelectiveScanSpec, caps: &Caps) -> bool {
        let slice = Self { slice: SelectiveScanSlice::from_axes(slice), ..self };
        let scratch = [slice.held(spec).end, slice.maps(spec), slice.gated(spec)];
        scratch.into_iter().all(|numbers| check_scratch("a slice", numbers, caps).is_ok())
    }

    /// The same in the largest slices that fit, of about the same size. An axis is cut where single elements of those
    /// before it are too much: batches, groups and tiles first, which costs nothing, and rows last.
    fn sliced(self, spec: &SelectiveScanSpec, caps: &Caps) -> Self {
        let whole = self.slice.axes();
        let (mut slice, mut slices) = (whole, [1; 4]);
        for axis in 0..4 {
            let of = |count: u32| std::array::from_fn(|i| if i == axis { count } else { slice[i] });
            let most = most(whole[axis], |count| self.fits(of(count), spec, caps));
            slices[axis] = whole[axis].div_ceil(most);
            let fitting = self.fits(of(most), spec, caps);
            slice[axis] = whole[axis].div_ceil(slices[axis]);
            if fitting {
                break;
            }
        }
        let [slice, slices] = [slice, slices].map(SelectiveScanSlice::from_axes);
        Self { slice, slices, ..self }
    }

    /// Channels of the largest slice.
    fn slice_channels(&self, spec: &SelectiveScanSpec) -> usize {
        let tile = (LANES / self.forward.state_lanes) as usize;
        let among = spec.channels / spec.groups();
        self.slice.groups as usize * among.min(self.slice.tiles as usize * tile)
    }

    /// The steps of a slice of a row.
    fn slice_steps(&self, spec: &SelectiveScanSpec) -> usize {
        (self.slice.chunks as usize * self.forward.chunk as usize).min(spec.length)
    }

    /// Parts of a slice of which the gradient of what belongs to channels is the sum.
    fn terms(&self) -> usize {
        self.slice.batches as usize * self.slice.chunks as usize
    }

    /// Numbers of the states of one batch.
    fn batch_states(spec: &SelectiveScanSpec) -> usize {
        spec.channels * spec.state_dim * spec.parts()
    }

    /// Numbers of the states of a slice's rows.
    pub(crate) fn slice_states(&self, spec: &SelectiveScanSpec) -> usize {
        self.slice.batches as usize * self.slice_channels(spec) * spec.state_dim * spec.parts()
    }

    /// Numbers of the states with which a slice's chunks begin.
    fn borders(&self, spec: &SelectiveScanSpec) -> usize {
        self.slice_states(spec) * self.slice.chunks as usize
    }

    /// Numbers of the maps of a slice's chunks; there are some for a single chunk too.
    pub(crate) fn maps(&self, spec: &SelectiveScanSpec) -> usize {
        2 * self.borders(spec)
    }

    /// Numbers of the gradient before the gate, in rows of whole fours.
    pub(crate) fn gated(&self, spec: &SelectiveScanSpec) -> usize {
        let rows = self.slice.batches as usize * self.slice_channels(spec);
        if spec.gated { rows * self.slice_steps(spec).next_multiple_of(4) } else { 0 }
    }

    /// Numbers of the states of all channels of a slice's batches, where rows are cut; they are kept between slices.
    pub(crate) fn between(&self, spec: &SelectiveScanSpec) -> usize {
        if self.slices.chunks == 1 { 0 } else { self.slice.batches as usize * Self::batch_states(spec) }
    }

    /// Numbers of the states before all slices of those rows.
    pub(crate) fn starts(&self, spec: &SelectiveScanSpec) -> usize {
        self.between(spec) * self.slices.chunks as usize
    }

    /// Where in the tensor that the kernels of a slice share lies what.
    pub(crate) fn held(&self, spec: &SelectiveScanSpec) -> BackwardHeld {
        let states = self.borders(spec);
        let SelectiveScanSlice { batches, groups, tiles, .. } = self.slice;
        let lines = (batches * groups) as usize * tiles as usize * spec.state_dim * spec.parts();
        let steps = lines * self.slice_steps(spec);
        let channels = self.terms() * self.slice_channels(spec);
        let Held { skip, border, .. } = self.forward.held(spec);
        let back = border + states;
        let da = back + states;
        let db = da + states;
        let dc = db + if self.forward.b_varies { steps } else { states };
        let dskip = dc + if self.forward.c_varies { steps } else { states };
        let dbias = dskip + channels;
        BackwardHeld { skip, border, back, da, db, dc, dskip, dbias, end: dbias + channels }
    }
}

/// The most up to `count` that fits; at least one, whether or not it does.
fn most(count: u32, fits: impl Fn(u32) -> bool) -> u32 {
    let (mut least, mut beyond) = (1, count + 1);
    while beyond - least > 1 {
        let middle = u32::midpoint(least, beyond);
        *if fits(middle) { &mut least } else { &mut beyond } = middle;
    }
    least
}

/// Numbers in the tensor that the kernels of a backward pass share, counted from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackwardHeld {
    /// As in [`Held`].
    pub skip: usize,
    /// As in [`Held`].
    pub border: usize,
    /// The gradients that come from behind a chunk.
    pub back: usize,
    /// Parts of dA, and of the other gradients.
    pub da: usize,
    pub db: usize,
    pub dc: usize,
    pub dskip: usize,
    pub dbias: usize,
    /// All of it.
    pub end: usize,
}

impl Plan for SelectiveScanBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let Self { forward, .. } = self;
        let SelectiveScanPlan { lanes, .. } = *forward;
        let starts = lanes * self.step_tiles * 16 * forward.parts();
        let backward = Footprint {
            kernel: "scan/selective_backward",
            lanes,
            workgroup_bytes: starts + lanes * 64 + forward.sum_bytes(),
            storage_buffers: 8,
        };
        let gate = |storage_buffers| Footprint {
            kernel: "scan/selective_gate",
            lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        let mut kernels = vec![forward.pack()];
        kernels.extend(forward.gated.then(|| gate(3)));
        kernels.extend([forward.reduce(8), forward.carry(), forward.carry(), backward]);
        kernels.extend(forward.gated.then(|| gate(4)));
        kernels.extend([
            self.sum.footprint(),
            Footprint { kernel: "scan/selective_sum", ..self.sum.footprint() },
        ]);
        kernels
    }
}

impl fmt::Display for SelectiveScanBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SelectiveScanPlan { lanes, state_lanes, exchange, storage, chunk, chunks, .. } = self.forward;
        write!(
            f,
            "{chunks} chunks of {chunk} steps a row, their states computed again, sums in a fixed order; "
        )?;
        if self.slices.count() > 1 {
            let [batches, groups, tiles, chunks] = self.slice.axes();
            write!(
                f,
                "{} slices of {batches} batches × {groups} groups × {tiles} tiles of channels × {chunks} chunks; ",
                self.slices.count()
            )?;
        }
        write!(
            f,
            "{lanes} lanes, {state_lanes} a channel with 4 states each, summed through {exchange}; {storage}"
        )
    }
}
