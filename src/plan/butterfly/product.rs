//! Plans of the butterfly product and its gradients.

use std::fmt;

use crate::caps::{Bytes, Caps};
use crate::plan::{Bound, Footprint, Plan, SliceSumPlan, check_binding, check_caps, check_turns};
use crate::shader::Storage;
use crate::{ButterflySpec, DType, PlanError};

/// How to run a [`ButterflySpec`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ButterflyPlan {
    /// What a workgroup keeps in its memory.
    pub tile: ButterflyTile,
    /// The factors, cut where a tile does not hold what they mix. One: all are fused.
    pub passes: Vec<ButterflyPass>,
    /// How `x` is stored.
    pub x: Storage,
    /// How `twiddle` is stored.
    pub twiddle: Storage,
    /// How `y` is stored, and the bias of a layer.
    pub y: Storage,
    /// Whether the twiddle is more than one binding holds: each pass then binds its own factors, a stack at a time.
    pub windows: bool,
    /// Whether rows get a bias.
    pub bias: bool,
    /// How rows between passes are stored: in f32.
    pub between: Storage,
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// How to compute the gradients of a [`ButterflySpec`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ButterflyBackwardPlan {
    /// What a workgroup keeps in its memory.
    pub tile: ButterflyTile,
    /// The factors, cut where a tile does not hold what they mix, or a lane the gradients of its matrices. What goes into
    /// a pass is computed again and stored; what goes into its factors never leaves the lanes.
    pub passes: Vec<ButterflyPass>,
    /// Whether the twiddle is more than one binding holds: each pass then binds its own factors, a stack at a time.
    pub windows: bool,
    /// Chunks of the batch: a workgroup sums the gradients of a chunk.
    pub chunks: u32,
    /// How `x` is stored.
    pub x: Storage,
    /// How `dx` is stored: in f32 where a layer has several of them to sum.
    pub dx: Storage,
    /// How `twiddle` and `dtwiddle` are stored.
    pub twiddle: Storage,
    /// How `dy` is stored.
    pub dy: Storage,
    /// How rows between passes are stored: in f32.
    pub between: Storage,
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// What a workgroup of a butterfly product keeps in its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ButterflyTile {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Nodes, of one set of rows or of several: a power of two.
    pub nodes: u32,
    /// Rows of a set: those that use a weight which a lane loaded.
    pub rows: u32,
    /// Elements of a node.
    pub entry: u32,
    /// Elements are complex.
    pub complex: bool,
    /// Factors are transposed.
    pub transposed: bool,
}

/// Consecutive factors that one kernel applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ButterflyPass {
    /// The first factor, in the order in which they are applied.
    pub first: u32,
    /// How many.
    pub factors: u32,
    /// The lowest bit of a node's number that they change.
    pub low: u32,
    /// How many bits from that one on a tile has all values of.
    pub bits: u32,
    /// How many of the lowest bits it has all values of too, so that memory is read in runs.
    pub run: u32,
}

/// How the rows of a stack lie in a tensor, in numbers: the distance between rows and between stacks, how many of a stack
/// the product reads or writes, and how many of a gradient are zero behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Side {
    pub row: usize,
    pub stack: usize,
    pub width: usize,
    pub spare: usize,
}

impl Side {
    /// Of `x`: what is past the product's width is not read.
    pub fn x(spec: &ButterflySpec) -> Self {
        let (stack, width) = (spec.n_in * spec.parts(), spec.width() * spec.parts());
        let width = stack.min(width);
        Self { row: spec.nstacks * stack, stack, width, spare: stack - width }
    }

    /// Of `y`, and of the rows between passes.
    pub fn y(spec: &ButterflySpec) -> Self {
        let width = spec.width() * spec.parts();
        Self { row: spec.nstacks * width, stack: width, width, spare: 0 }
    }

    fn storage(&self, dtype: DType, caps: &Caps) -> Storage {
        let fours = [self.row, self.stack, self.width].iter().all(|size| size.is_multiple_of(4));
        Storage::new(dtype, caps.f16, fours)
    }
}

const KERNEL: &str = "a butterfly product";

/// Lanes beyond which a workgroup does not grow; within what WebGPU guarantees.
const MOST_LANES: u32 = 256;

/// Nodes of a tile for each lane: what two factors mix.
const QUAD: u32 = 4;

/// Elements of a run that fill a sector of memory in f16, and two in f32.
const RUN: u32 = 16;

/// Factors of a backward pass beyond which what a lane keeps of them leaves the registers.
const MOST_BACKWARD: u32 = 10;

/// Workgroups that fill a large GPU.
const FULL: u32 = 1024;

/// Numbers of the slices that workgroups sum by themselves: more of them would cost more than they gain.
const SLICES: usize = 8 << 20;

impl ButterflyPlan {
    /// Plans a product: fused where a row fits in workgroup memory. Fails if the spec is wrong or a tensor exceeds a
    /// binding.
    pub fn new(spec: &ButterflySpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps(KERNEL, caps)?;
        Self::with_sides(spec, [Side::x(spec), Side::y(spec)], false, caps)
    }

    /// Plans a product whose rows lie otherwise than in the spec's own tensors, or get a bias.
    pub(crate) fn with_sides(
        spec: &ButterflySpec,
        [x, y]: [Side; 2],
        bias: bool,
        caps: &Caps,
    ) -> Result<Self, PlanError> {
        let (tile, bound) = ButterflyTile::new(spec, MOST_LANES * QUAD, caps)?;
        let windows = Window::needed(spec, caps)?;
        let most = if windows { Window::most_factors(spec, spec.dtype, caps)? } else { u32::MAX };
        let passes = passes(spec, tile.nodes.ilog2(), most);
        check_tensors(spec, x, y, caps)?;
        if passes.len() > 1 {
            check_rows_between(spec, caps)?;
        }
        let between = Side::y(spec).storage(DType::F32, caps);
        let plan = Self {
            tile,
            passes,
            x: x.storage(spec.dtype, caps),
            twiddle: twiddle(spec, caps),
            y: y.storage(spec.dtype, caps),
            windows,
            bias,
            between,
            bound,
        };
        check_turns(KERNEL, plan.turns(), caps)?;
        Ok(plan)
    }

    /// Turns that the loops of a lane take in the longest pass.
    fn turns(&self) -> u64 {
        let quads = u64::from(self.tile.nodes * self.tile.entry / 4).div_ceil(self.tile.lanes.into());
        let factors = u64::from(self.passes.iter().map(|pass| pass.factors).max().unwrap_or(0));
        if self.tile.entry > 1 {
            let task = 2 + 2 * u64::from(self.tile.entry);
            return 2 * (1 + quads) + factors * (1 + u64::from(self.tile.tasks()) * task);
        }
        (2 + factors.div_ceil(2)) * (1 + quads)
    }

    /// Tensors of f32 between the passes.
    pub(crate) fn tensors_between(&self) -> usize {
        (self.passes.len() - 1).min(2)
    }
}

impl ButterflyBackwardPlan {
    /// Plans the gradients of a product. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &ButterflySpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps(KERNEL, caps)?;
        Self::with_sides(spec, [Side::x(spec), Side::y(spec), Side::x(spec)], caps)
    }

    /// Plans the gradients of a product whose rows lie otherwise than in the spec's own tensors.
    pub(crate) fn with_sides(
        spec: &ButterflySpec,
        [x, dy, dx]: [Side; 3],
        caps: &Caps,
    ) -> Result<Self, PlanError> {
        let lanes = MOST_LANES.min(previous_power_of_two(caps.workgroup_lanes));
        let (tile, bound) = if spec.entry == 1 {
            ButterflyTile::backward(spec, lanes * QUAD, caps)?
        } else {
            ButterflyTile::new(spec, MOST_LANES * QUAD, caps)?
        };
        let windows = Window::needed(spec, caps)?;
        let most = if spec.entry == 1 { MOST_BACKWARD } else { spec.log_n() as u32 };
        // The slices that are summed are f32, whatever the twiddle is.
        let sets = (tile.nodes / spec.n as u32).max(1);
        let most_sums = || Window::most_factors(spec, DType::F32, caps).map(|most| (most / sets).max(1));
        let most = if windows { most.min(most_sums()?) } else { most };
        let passes = passes(spec, tile.nodes.ilog2(), most);
        check_tensors(spec, x, dy, caps)?;
        if passes.len() > 1 || spec.entry > 1 {
            check_rows_between(spec, caps)?;
        }
        let mut plan = Self {
            tile,
            passes,
            windows,
            chunks: 1,
            x: x.storage(spec.dtype, caps),
            dx: dx.storage(if dx.row == x.row { spec.dtype } else { DType::F32 }, caps),
            twiddle: twiddle(spec, caps),
            dy: dy.storage(spec.dtype, caps),
            between: Side::y(spec).storage(DType::F32, caps),
            bound,
        };
        plan.chunks = plan.wanted_chunks(spec, caps);
        check_binding("the slices of dtwiddle", plan.slices_len(spec), DType::F32, caps)?;
        let sums = plan.passes.iter().map(|pass| plan.slices(pass)).max().unwrap_or(0) / SliceSumPlan::SPREAD;
        let longest = plan.passes.iter().map(|pass| plan.turns(spec, pass)).max().unwrap_or(0);
        check_turns("the gradient of a butterfly product", longest.max(sums.into()), caps)?;
        Ok(plan)
    }

    /// As many chunks as occupy the GPU, or as the driver's limit of turns asks for, where their slices stay small.
    fn wanted_chunks(&self, spec: &ButterflySpec, caps: &Caps) -> u32 {
        let one = Self { chunks: 1, ..self.clone() };
        let tiles = |pass: &ButterflyPass| one.chunk(spec, pass);
        let most_tiles = self.passes.iter().map(tiles).max().unwrap_or(1);
        let stacks = self.stacks(spec) as u32;
        let elsewhere = |pass: &ButterflyPass| match spec.entry {
            1 => pass.positions(spec) * stacks,
            _ => (gradient_cells(spec) as u32).div_ceil(GRADIENT_LANES) * stacks,
        };
        let elsewhere = self.passes.iter().map(elsewhere).min().unwrap_or(1);
        let bound = (caps.binding_bytes / 4).min(SLICES as u64) as usize;
        let room = (bound / one.slices_len(spec)).max(1);
        let wanted = FULL.div_ceil(elsewhere).min(room as u32).min(most_tiles);
        let turns = self.passes.iter().map(|pass| one.turns(spec, pass)).max().unwrap_or(0);
        let needed = caps.loop_turns.map_or(1, |limit| turns.div_ceil(u64::from(limit / 2)) as u32);
        wanted.max(needed.min(most_tiles))
    }

    /// Tiles of rows of a chunk, or rows where entries are matrices.
    pub(crate) fn chunk(&self, spec: &ButterflySpec, pass: &ButterflyPass) -> u32 {
        if self.tile.entry > 1 {
            return (spec.batch as u32).div_ceil(self.chunks);
        }
        self.tile.row_tiles(pass, spec.batch).div_ceil(self.chunks)
    }

    /// Slices of a pass: each set of each chunk sums its own.
    pub(crate) fn slices(&self, pass: &ButterflyPass) -> u32 {
        self.chunks * if self.tile.entry > 1 { 1 } else { self.tile.sets(pass) }
    }

    /// Stacks that are computed at a time.
    fn stacks(&self, spec: &ButterflySpec) -> usize {
        if self.windows { 1 } else { spec.nstacks }
    }

    /// Numbers of the slices of the pass that has the most; of a factor, where entries are matrices.
    pub(crate) fn slices_len(&self, spec: &ButterflySpec) -> usize {
        let len = |pass: &ButterflyPass| {
            let factors = if spec.entry > 1 { 1 } else { pass.factors as usize };
            self.slices(pass) as usize * factors * self.stacks(spec) * spec.factor_len()
        };
        self.passes.iter().map(len).max().unwrap_or(0)
    }

    /// The pass that has the factor which is applied at this place.
    pub(crate) fn pass_of(&self, place: u32) -> usize {
        self.passes.iter().take_while(|pass| pass.first + pass.factors <= place).count()
    }

    /// How the slices of `dtwiddle` are summed: a matrix has four numbers, or as many entries.
    pub(crate) fn sum(&self) -> SliceSumPlan {
        let slices = Storage { vectors: true, ..Storage::F32 };
        SliceSumPlan { spread: SliceSumPlan::SPREAD, slices, sums: Storage { vectors: true, ..self.twiddle } }
    }

    /// Pairs of factors that a lane keeps.
    pub(crate) fn steps(&self) -> u32 {
        self.passes.iter().map(|pass| pass.factors.div_ceil(2)).max().unwrap_or(1)
    }

    /// Turns that the loops of a lane take.
    fn turns(&self, spec: &ButterflySpec, pass: &ButterflyPass) -> u64 {
        if spec.entry > 1 {
            return u64::from(self.chunk(spec, pass));
        }
        let spare = spec.n_in.saturating_sub(spec.width()) * spec.parts();
        let spare = spare.div_ceil(4 * self.tile.lanes as usize) as u64;
        let rows = u64::from(self.tile.sets(pass) * self.tile.rows);
        let tile = 4 + 2 * u64::from(self.steps()) + rows * (1 + spare);
        u64::from(self.chunk(spec, pass)) * tile
    }
}

/// Fours by fours of all the matrices of one factor.
pub(crate) fn gradient_cells(spec: &ButterflySpec) -> usize {
    let quads = spec.entry.div_ceil(4);
    spec.n / 2 * 4 * quads * quads
}

/// A twiddle is read a matrix at a time, or a row of an entry.
fn twiddle(spec: &ButterflySpec, caps: &Caps) -> Storage {
    let run = if spec.entry == 1 { 4 } else { spec.entry * spec.parts() };
    Storage::new(spec.dtype, caps.f16, run.is_multiple_of(4))
}

/// The part of a twiddle that a dispatch binds, and the stacks that it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first stack.
    pub stack: u32,
    /// How many.
    pub stacks: u32,
    /// The first factor that is bound, counted over all stacks.
    pub first: u32,
    /// Where it starts, in bytes.
    pub offset: u64,
    /// How many bytes; without it, all there are.
    pub bytes: Option<u64>,
}

impl Window {
    /// Whether the twiddle does not fit one binding. Fails if it is more than a buffer.
    fn needed(spec: &ButterflySpec, caps: &Caps) -> Result<bool, PlanError> {
        let bytes = (spec.parameters() * spec.dtype.bytes()) as u64;
        let (tensor, limit) = ("twiddle", caps.buffer_bytes);
        if bytes > limit {
            Err(PlanError::Buffer { tensor, bytes, limit })
        } else {
            Ok(bytes > caps.binding_bytes)
        }
    }

    /// The factors that a window holds, wherever it starts, if their numbers are stored so. Fails if that is not one.
    fn most_factors(spec: &ButterflySpec, dtype: DType, caps: &Caps) -> Result<u32, PlanError> {
        let bytes = (spec.factor_len() * dtype.bytes()) as u64;
        let most = (caps.binding_bytes / bytes).saturating_sub(Self::step(spec) - 1);
        let (tensor, limit) = ("a factor of twiddle", caps.binding_bytes);
        if most == 0 { Err(PlanError::Binding { tensor, bytes, limit }) } else { Ok(most as u32) }
    }

    fn factor_bytes(spec: &ButterflySpec) -> u64 {
        (spec.factor_len() * spec.dtype.bytes()) as u64
    }

    /// Factors from one place where a window may start to the next.
    fn step(spec: &ButterflySpec) -> u64 {
        // What divides both, since the alignment is a power of two.
        let common = 1 << Self::factor_bytes(spec).trailing_zeros().min(PART_ALIGNMENT.trailing_zeros());
        PART_ALIGNMENT / common
    }

    /// The windows onto `factors`, in the order of the twiddle: one of all stacks, or one for each.
    pub(crate) fn of(spec: &ButterflySpec, windows: bool, factors: std::ops::Range<u32>) -> Vec<Self> {
        let stacks = spec.nstacks as u32;
        if !windows {
            return vec![Self { stack: 0, stacks, first: 0, offset: 0, bytes: None }];
        }
        let of_stack = |stack: u32| {
            let before = u64::from(stack) * spec.factors() as u64;
            let (first, end) = (before + u64::from(factors.start), before + u64::from(factors.end));
            let first = first / Self::step(spec) * Self::step(spec);
            let bytes = |factors: u64| factors * Self::factor_bytes(spec);
            Self {
                stack,
                stacks: 1,
                first: first as u32,
                offset: bytes(first),
                bytes: Some(bytes(end - first)),
            }
        };
        (0..stacks).map(of_stack).collect()
    }
}

/// Where a part of a buffer may start that is bound: what every WebGPU implementation takes.
const PART_ALIGNMENT: u64 = 256;

fn check_tensors(spec: &ButterflySpec, x: Side, y: Side, caps: &Caps) -> Result<(), PlanError> {
    check_binding("x", spec.batch * x.row, spec.dtype, caps)?;
    check_binding("y", spec.batch * y.row, spec.dtype, caps)
}

fn check_rows_between(spec: &ButterflySpec, caps: &Caps) -> Result<(), PlanError> {
    check_binding("the rows between passes", spec.batch * Side::y(spec).row, DType::F32, caps)
}

/// Cuts the factors, in the order in which they are applied, into as few passes as tiles of `2^bits` nodes allow.
fn passes(spec: &ButterflySpec, bits: u32, most: u32) -> Vec<ButterflyPass> {
    let total = spec.factors() as u32;
    let bit = |place: u32| spec.stride_bit(spec.factor_at(place as usize)) as u32;
    let run = least_run(spec);
    let mut passes = Vec::new();
    let mut first = 0;
    while first < total {
        let (mut low, mut high, mut end) = (bit(first), bit(first), first + 1);
        while end < total && end - first < most {
            let (lower, higher) = (low.min(bit(end)), high.max(bit(end)));
            if higher - lower + 1 + run.min(lower) > bits {
                break;
            }
            (low, high, end) = (lower, higher, end + 1);
        }
        // Four neighbours lie side by side, whichever factors there are.
        let active = if low == 0 { (high + 1).max(2) } else { high - low + 1 };
        let run = low.min(bits - active);
        // Where a tile has all the lowest bits, it takes more of the higher ones too: sets of rows instead would each sum
        // slices of their own, backward.
        let active = if run == low { active.max(bits.min(spec.log_n() as u32) - run) } else { active };
        passes.push(ButterflyPass { first, factors: end - first, low, bits: active, run });
        first = end;
    }
    passes
}

/// log2 of the nodes that fill a run; four at least, so that quads of elements are neighbours.
fn least_run(spec: &ButterflySpec) -> u32 {
    let element = (spec.entry * spec.parts()) as u32;
    let nodes = RUN.div_ceil(element).next_power_of_two();
    if spec.entry.is_multiple_of(4) { nodes.ilog2() } else { nodes.max(4).ilog2() }
}

fn previous_power_of_two(size: u32) -> u32 {
    1 << size.ilog2()
}

impl ButterflyPass {
    /// Tiles of a row.
    pub(crate) fn positions(&self, spec: &ButterflySpec) -> u32 {
        // A row of two nodes is less than a tile.
        ((spec.n as u32) >> (self.bits + self.run)).max(1)
    }
}

impl ButterflyTile {
    /// The tile of a product. Where a row fits, it has as many rows for each weight as then fit too; elsewhere as many as
    /// cost the least traffic. Sets of rows fill it up to `enough` elements.
    fn new(spec: &ButterflySpec, enough: u32, caps: &Caps) -> Result<(Self, Bound), PlanError> {
        let n = (spec.n as u32).max(QUAD);
        let rows = most_rows(spec);
        let fused = choices(rows).find(|&rows| nodes_that_fit(spec, rows, caps) >= n);
        // A pass moves rows through memory, a factor its weights, once for a set of rows: those from caches, at half the
        // cost.
        let traffic = |rows: &u32| {
            let bits = nodes_that_fit(spec, *rows, caps).ilog2();
            2 * u64::from(*rows) * passes(spec, bits, u32::MAX).len() as u64 + spec.factors() as u64
        };
        let enough_bits = |rows: &u32| nodes_that_fit(spec, *rows, caps) >= least_nodes(spec);
        let chosen = fused.or_else(|| {
            choices(rows).filter(enough_bits).min_by(|a, b| {
                // traffic / (2 rows), without fractions.
                (traffic(a) * u64::from(*b)).cmp(&(traffic(b) * u64::from(*a)))
            })
        });
        let Some(chosen) = chosen else { return Err(too_small(spec, caps)) };
        let fitting = nodes_that_fit(spec, chosen, caps);
        let nodes = if fused.is_some() { n } else { fitting };
        let tile = Self::filled(spec, chosen, nodes, fitting, enough, caps);
        let bound = if fused.is_none() || chosen < rows {
            Bound::WorkgroupMemory(caps.workgroup_bytes)
        } else if caps.workgroup_lanes < MOST_LANES
            && tile.lanes == previous_power_of_two(caps.workgroup_lanes)
        {
            Bound::Lanes(caps.workgroup_lanes)
        } else if tile.nodes * tile.entry < enough {
            Bound::Problem
        } else {
            Bound::Registers
        };
        Ok((tile, bound))
    }

    /// The tile of the gradients: a quad a lane, and as many rows as then fit.
    fn backward(spec: &ButterflySpec, most: u32, caps: &Caps) -> Result<(Self, Bound), PlanError> {
        let wanted = (spec.n as u32).clamp(QUAD, most);
        let rows = most_rows(spec);
        let chosen = choices(rows).find(|&rows| nodes_that_fit(spec, rows, caps) >= wanted);
        let chosen = chosen.unwrap_or(1);
        let fitting = nodes_that_fit(spec, chosen, caps).min(most);
        if fitting < least_nodes(spec) {
            return Err(too_small(spec, caps));
        }
        let tile = Self::filled(spec, chosen, wanted.min(fitting), fitting, most, caps);
        let bound = if chosen < rows || fitting < wanted {
            Bound::WorkgroupMemory(caps.workgroup_bytes)
        } else if tile.nodes < most {
            Bound::Problem
        } else if most < MOST_LANES * QUAD {
            Bound::Lanes(caps.workgroup_lanes)
        } else {
            Bound::Registers
        };
        Ok((tile, bound))
    }

    /// Adds sets of rows, as the batch and the memory have them, until there is enough for the lanes.
    fn filled(spec: &ButterflySpec, rows: u32, nodes: u32, fitting: u32, enough: u32, caps: &Caps) -> Self {
        let (entry, sets) = (spec.entry as u32, spec.batch.div_ceil(rows as usize) as u32);
        let mut filled = nodes;
        while 2 * filled <= fitting && 2 * filled * entry <= enough && filled / nodes < sets {
            filled *= 2;
        }
        let most = MOST_LANES.min(previous_power_of_two(caps.workgroup_lanes));
        // A lane takes a quad of nodes, or an element of a pair of them.
        let tasks = if entry == 1 { filled / QUAD } else { filled / 2 * entry };
        let lanes = most.min(previous_power_of_two(tasks));
        Self { lanes, nodes: filled, rows, entry, complex: spec.complex, transposed: spec.transposed }
    }

    /// Elements of pairs that a lane takes, where entries are matrices.
    pub(crate) fn tasks(&self) -> u32 {
        (self.nodes / 2 * self.entry).div_ceil(self.lanes)
    }

    /// Sets of rows in a tile.
    pub(crate) fn sets(&self, pass: &ButterflyPass) -> u32 {
        self.nodes >> (pass.bits + pass.run)
    }

    /// Tiles that the rows of the batch take.
    pub(crate) fn row_tiles(&self, pass: &ButterflyPass, batch: usize) -> u32 {
        (batch as u32).div_ceil(self.sets(pass) * self.rows)
    }

    fn workgroup_bytes(&self) -> u32 {
        tile_bytes(self.nodes, self.rows, self.entry, self.complex)
    }
}

/// Rows of a set that a batch has use for.
fn most_rows(spec: &ButterflySpec) -> u32 {
    4.min((spec.batch as u32).next_power_of_two())
}

fn choices(rows: u32) -> impl Iterator<Item = u32> {
    [4, 2, 1].into_iter().filter(move |&choice| choice <= rows)
}

/// Elements are kept in groups of eight.
fn tile_bytes(nodes: u32, rows: u32, entry: u32, complex: bool) -> u32 {
    (nodes * entry).next_multiple_of(8) * rows * if complex { 8 } else { 4 }
}

/// The most nodes of a tile, a power of two; 1 where not even that fits.
fn nodes_that_fit(spec: &ButterflySpec, rows: u32, caps: &Caps) -> u32 {
    let node = spec.entry as u64 * u64::from(rows) * spec.parts() as u64 * 4;
    let nodes = u64::from(previous_power_of_two(caps.workgroup_bytes)) / node;
    previous_power_of_two((nodes as u32).max(1))
}

/// Nodes of the least tile: the two that a factor mixes, in runs.
fn least_nodes(spec: &ButterflySpec) -> u32 {
    let run = if spec.n <= 4 { 1 } else { least_run(spec) };
    (2 << run).max(QUAD)
}

fn too_small(spec: &ButterflySpec, caps: &Caps) -> PlanError {
    PlanError::TooSmall {
        kernel: KERNEL,
        resource: "bytes of workgroup memory",
        needed: u64::from(least_nodes(spec)) * (spec.entry * spec.parts() * 4) as u64,
        limit: u64::from(caps.workgroup_bytes),
    }
}

impl Plan for ButterflyPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let footprint = Footprint {
            kernel: "butterfly/product",
            lanes: self.tile.lanes,
            workgroup_bytes: self.tile.workgroup_bytes(),
            storage_buffers: 3,
        };
        let mut footprints = vec![footprint; self.passes.len()];
        if let (true, Some(last)) = (self.bias, footprints.last_mut()) {
            last.storage_buffers += 1;
        }
        footprints
    }
}

/// Lanes of the kernel that sums the gradient of a factor whose entries are matrices.
pub(crate) const GRADIENT_LANES: u32 = 64;

impl Plan for ButterflyBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let (lanes, workgroup_bytes) = (self.tile.lanes, self.tile.workgroup_bytes());
        let forth = Footprint { kernel: "butterfly/product", lanes, workgroup_bytes, storage_buffers: 3 };
        let back = Footprint { kernel: "butterfly/product_backward", storage_buffers: 5, ..forth };
        let sum = SliceSumPlan::footprint();
        let passes = self.passes.len();
        let between = std::iter::repeat_n(forth, passes - 1);
        if self.tile.entry == 1 {
            return between.chain(std::iter::repeat_n([back, sum], passes).flatten()).collect();
        }
        let gradient = Footprint {
            kernel: "butterfly/block_gradient",
            lanes: GRADIENT_LANES,
            workgroup_bytes: 0,
            storage_buffers: 3,
        };
        // Of a factor that is not the first of its pass, what goes into it is computed again.
        let factors = self.passes.iter().rev().flat_map(|pass| (0..pass.factors).rev());
        let factors =
            factors.flat_map(|i| (i > 0).then_some(forth).into_iter().chain([gradient, sum, forth]));
        between.chain(factors).collect()
    }
}

impl fmt::Display for ButterflyTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, nodes, rows, entry, .. } = self;
        write!(f, "tiles of {nodes} nodes")?;
        if *entry > 1 {
            write!(f, " × {entry}")?;
        }
        let bytes = Bytes(u64::from(self.workgroup_bytes()));
        write!(f, ", {rows} rows a weight, in {bytes}, {lanes} lanes")
    }
}

/// `12 + 8 factors`.
fn write_passes(f: &mut fmt::Formatter<'_>, passes: &[ButterflyPass]) -> fmt::Result {
    for (i, pass) in passes.iter().enumerate() {
        write!(f, "{}{}", if i == 0 { "" } else { " + " }, pass.factors)?;
    }
    f.write_str(" factors")
}

fn write_windows(f: &mut fmt::Formatter<'_>, windows: bool) -> fmt::Result {
    if windows { f.write_str(" bound a pass and a stack at a time") } else { Ok(()) }
}

impl fmt::Display for ButterflyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tile, passes, x, twiddle, y, bound, .. } = self;
        match passes.as_slice() {
            [_] => f.write_str("fused, ")?,
            _ => write!(f, "{} passes through f32 scratch, ", passes.len())?,
        }
        write_passes(f, passes)?;
        write_windows(f, self.windows)?;
        write!(f, ", {tile}; ")?;
        if x == twiddle && twiddle == y {
            write!(f, "{x}; {bound}")
        } else {
            write!(f, "x {x}; twiddle {twiddle}; y {y}; {bound}")
        }
    }
}

impl fmt::Display for ButterflyBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tile, passes, chunks, x, twiddle, dy, bound, .. } = self;
        match passes.as_slice() {
            [_] => f.write_str("fused, ")?,
            _ => write!(f, "{} passes through f32 scratch, ", passes.len())?,
        }
        write_passes(f, passes)?;
        write_windows(f, self.windows)?;
        write!(f, ", {tile}, {chunks} chunks of the batch; ")?;
        if x == twiddle && twiddle == dy {
            write!(f, "{x}; {bound}")
        } else {
            write!(f, "x {x}; twiddle {twiddle}; dy {dy}; {bound}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::WEBGPU_BASELINE;

    fn bits(spec: &ButterflySpec, bits: u32) -> Vec<[u32; 4]> {
        let passes = passes(spec, bits, u32::MAX);
        passes.iter().map(|pass| [pass.factors, pass.low, pass.bits, pass.run]).collect()
    }

    #[test]
    fn factors_are_cut_where_a_tile_ends() {
        let spec = ButterflySpec::new(DType::F32, 1, 1 << 20).increasing_stride();
        assert_eq!(bits(&spec, 12), [[12, 0, 12, 0], [8, 12, 8, 4]]);
        // The second half of a block and the first of the next change the same bits.
        let three = spec.nblocks(3);
        assert_eq!(bits(&three, 12), [[12, 0, 12, 0], [16, 12, 8, 4], [24, 0, 12, 0], [8, 12, 8, 4]]);
        assert_eq!(bits(&three, 20), [[60, 0, 20, 0]]);
        // What a tile has room for makes longer runs.
        assert_eq!(bits(&ButterflySpec { n: 1 << 13, ..spec }, 12), [[12, 0, 12, 0], [1, 12, 1, 11]]);
    }

    #[test]
    fn a_twiddle_past_a_binding_is_bound_in_windows() {
        let whole = ButterflySpec::new(DType::F32, 1, 1 << 19);
        assert!(!ButterflyPlan::new(&whole, &WEBGPU_BASELINE).unwrap().windows);
        let large = ButterflySpec::new(DType::F32, 1, 1 << 20);
        let plan = ButterflyPlan::new(&large, &WEBGPU_BASELINE).unwrap();
        assert!(plan.windows && ButterflyBackwardPlan::new(&large, &WEBGPU_BASELINE).unwrap().windows);
        // 20 factors of 8 MiB.
        let windows = Window::of(&large, true, 12..20);
        assert_eq!((windows[0].offset, windows[0].bytes), (12 * (8 << 20), Some(8 * (8 << 20))));
        // Factors of 32 bytes: a window starts at every eighth, of whichever stack.
        let small = ButterflySpec::new(DType::F32, 1, 4).nblocks(5).nstacks(2);
        let windows = Window::of(&small, true, 3..5);
        assert_eq!([windows[0].first, windows[1].first], [0, 8]);
        assert_eq!([windows[0].bytes, windows[1].bytes], [Some(5 * 32), Some(7 * 32)]);
        // Twice as much is more than a buffer.
        let refused = ButterflyPlan::new(&large.complex(), &WEBGPU_BASELINE).unwrap_err();
        let half = ButterflySpec { dtype: DType::F16, ..large.complex() };
        for spec in [half, half.increasing_stride().nblocks(1), large.transposed()] {
            assert!(ButterflyBackwardPlan::new(&spec, &WEBGPU_BASELINE).unwrap().windows, "{spec}");
        }
        assert_eq!(
            refused.to_string(),
            "twiddle: 320 MiB needed (335544320 bytes), a buffer of this adapter holds at most 256 MiB (268435456 bytes)"
        );
    }

    #[test]
    fn rows_that_fit_are_fused_on_the_least_machine() {
        for (n, complex, fused) in
            [(4096, false, true), (8192, false, false), (2048, true, true), (4096, true, false)]
        {
            let spec = ButterflySpec { complex, ..ButterflySpec::new(DType::F32, 10, n).nblocks(3) };
            let plan = ButterflyPlan::new(&spec, &WEBGPU_BASELINE).unwrap();
            assert_eq!(plan.passes.len() == 1, fused, "{spec}: {plan}");
        }
    }
}
