//! Plans of the Monarch product.

use std::fmt;

use crate::caps::{Bytes, Caps};
use crate::plan::{Bound, Footprint, Plan, check_binding, check_caps, check_turns};
use crate::shader::Storage;
use crate::{DType, MonarchSpec, PlanError};

/// How to run a [`MonarchSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MonarchPlan {
    /// Together or one after the other.
    pub path: MonarchPath,
    /// How `x` is stored.
    pub x: Storage,
    /// How the first factor is stored.
    pub w1: Storage,
    /// How the second factor is stored.
    pub w2: Storage,
    /// How `y` is stored.
    pub y: Storage,
    /// What kept the tiles from being larger.
    pub bound: Bound,
}

/// How the two factors of a Monarch product are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum MonarchPath {
    /// In one kernel: a workgroup keeps what lies between the factors, for a few rows, in its own memory.
    Fused(MonarchRows),
    /// In two passes of one kernel, with what lies between the factors in a scratch tensor.
    TwoPass {
        /// Tile of the first factor, whose rows are blocked.
        first: BlockTile,
        /// Tile of the second factor, whose rows are interleaved.
        second: BlockTile,
        /// How the first pass writes the scratch. It is f32 always: the sums are, so that both paths compute the
        /// same, and a value between the factors can be too large for f16 where every `x` and `y` is not.
        written: Storage,
        /// How the second pass reads the scratch.
        read: Storage,
    },
}

impl MonarchPath {
    /// Turns that the loops of a lane take in the kernel with the most.
    fn turns(&self, spec: &MonarchSpec) -> u64 {
        match self {
            Self::Fused(rows) => rows.turns(spec),
            Self::TwoPass { first, second, .. } => {
                first.turns(false, spec.w1[2]).max(second.turns(true, spec.w2[2]))
            }
        }
    }
}

/// What a workgroup of the fused path takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MonarchRows {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Rows of a workgroup.
    pub rows: u32,
    /// Rows of a lane, each of which uses a weight that the lane loaded.
    pub lane_rows: u32,
    /// Quads of outputs of a lane, each of which uses an input that the lane loaded.
    pub lane_quads: u32,
    /// Length of the array in workgroup memory that holds what lies between the factors.
    pub z_floats: u32,
    /// Whether that array is addressed by fours.
    pub z_vectors: bool,
}

/// What a workgroup of one pass takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockTile {
    /// Rows of the batch.
    pub rows: u32,
    /// Blocks of the factor.
    pub blocks: u32,
    /// Outputs of a block.
    pub height: u32,
    /// Inputs of a block in one step.
    pub width: u32,
    /// Quads of outputs of a lane, for each of its four rows.
    pub lane_quads: u32,
}

/// Rows of a lane in the fused path below which a weight is used too rarely for what it takes to load.
const LEAST_LANE_ROWS: u32 = 4;

/// Rows of a lane in the fused path beyond which their sums, four for each, leave the registers.
const MOST_LANE_ROWS: u32 = 8;

/// Inputs of a step of a pass beyond which barriers are rare enough.
const MOST_WIDTH: u32 = 16;

/// Workgroup memory of a pass beyond which too few workgroups share a compute unit to hide each other's barriers.
const MOST_TILE_BYTES: u32 = 16 << 10;

/// Workgroups that occupy a large GPU: only batches that give more of them have more than the least rows a lane.
const OCCUPYING: usize = 128;

/// Lanes beyond which neither path grows; within what WebGPU guarantees.
const MOST_LANES: u32 = 256;

/// Lanes that a workgroup should have, so that no subgroup of any size is mostly idle.
const ENOUGH_LANES: u32 = 64;

impl MonarchPlan {
    /// Plans a product: fused where four rows fit in workgroup memory. Fails if the spec is wrong or a tensor
    /// exceeds a binding.
    pub fn new(spec: &MonarchSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a Monarch product", caps)?;
        let rows = caps.workgroup_bytes / 4 / spec.n_mid() as u32;
        // A small batch is no exception: a wide product of few rows has work for more workgroups than it has tiles.
        match (rows >= LEAST_LANE_ROWS).then(|| Self::fused(spec, caps)) {
            Some(Ok(plan)) => Ok(plan),
            _ => Self::two_pass(spec, caps),
        }
    }

    /// Plans the fused path, even if few rows fit. Fails also if not a single one does.
    pub fn fused(spec: &MonarchSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a Monarch product", caps)?;
        let (rows, bound) = MonarchRows::new(spec, caps)?;
        Self::with_path(spec, caps, MonarchPath::Fused(rows), bound)
    }

    /// Plans two passes, even if the fused path would do.
    pub fn two_pass(spec: &MonarchSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a Monarch product", caps)?;
        check_binding("the row between the factors", spec.batch * spec.n_mid(), DType::F32, caps)?;
        let ([k, q, p], [l, s, r]) = (spec.w1, spec.w2);
        let (first, _) = BlockTile::blocked(spec.batch, [k, q, p], caps)?;
        let (second, bound) = BlockTile::interleaved(spec.batch, [l, s, r], caps)?;
        let scratch = |run: usize| Storage::new(DType::F32, caps.f16, run.is_multiple_of(4));
        let path = MonarchPath::TwoPass { first, second, written: scratch(q), read: scratch(l) };
        Self::with_path(spec, caps, path, bound)
    }

    fn with_path(
        spec: &MonarchSpec,
        caps: &Caps,
        path: MonarchPath,
        bound: Bound,
    ) -> Result<Self, PlanError> {
        let ([k, q, p], [l, s, r]) = (spec.w1, spec.w2);
        check_binding("x", spec.batch * spec.n_in(), spec.dtype, caps)?;
        check_binding("w1", k * q * p, spec.dtype, caps)?;
        check_binding("w2", l * s * r, spec.dtype, caps)?;
        check_binding("y", spec.batch * spec.n_out(), spec.dtype, caps)?;
        check_turns("a Monarch product", path.turns(spec), caps)?;
        // Loads run along the inputs of a block; stores along its outputs or, interleaved, across blocks.
        let by_runs_of = |run: usize| Storage::new(spec.dtype, caps.f16, run.is_multiple_of(4));
        let (x, w1, w2, y) = (by_runs_of(p), by_runs_of(p), by_runs_of(r), by_runs_of(l));
        Ok(Self { path, x, w1, w2, y, bound })
    }
}

/// Rows that a lane takes in the fused path if memory allows.
fn lane_rows(spec: &MonarchSpec) -> u32 {
    let spread = (spec.batch / OCCUPYING).clamp(LEAST_LANE_ROWS as usize, MOST_LANE_ROWS as usize);
    previous_power_of_two(spread as u32).min(power_of_two(spec.batch))
}

/// The least power of two that is no less; sizes are below 2^31.
fn power_of_two(size: usize) -> u32 {
    (size as u32).next_power_of_two()
}

impl MonarchRows {
    /// As many rows for each weight as registers and memory hold, then enough rows to occupy the lanes.
    fn new(spec: &MonarchSpec, caps: &Caps) -> Result<(Self, Bound), PlanError> {
        // Whole words of 16 bytes.
        let (width, floats) = (spec.n_mid() as u32, caps.workgroup_bytes / 16 * 4);
        let fitting = floats / width;
        if fitting == 0 {
            return Err(PlanError::TooSmall {
                kernel: "a fused Monarch product",
                resource: "bytes of workgroup memory",
                needed: u64::from(width) * 4,
                limit: u64::from(caps.workgroup_bytes),
            });
        }
        let most_lanes = caps.workgroup_lanes.min(MOST_LANES);
        let wanted_rows = lane_rows(spec);
        let lane_rows = wanted_rows.min(previous_power_of_two(fitting));
        let ([k, q, _], [l, s, _]) = (spec.w1, spec.w2);
        let lane_quads = if q > 4 && s > 1 { 2 } else { 1 };
        let shares = |quads: usize| quads.div_ceil(lane_quads);
        let shares = (k * shares(q.div_ceil(4))).max(l.div_ceil(4) * shares(s));
        let wanted_lanes = power_of_two(shares).max(ENOUGH_LANES);
        let lanes = wanted_lanes.min(most_lanes);
        // Narrow rows leave lanes over, which take further rows.
        let sets = (lanes / power_of_two(shares)).clamp(1, spec.batch.div_ceil(lane_rows as usize) as u32);
        let rows = lane_rows * sets.min(fitting / lane_rows);
        // In steps of four, so that few lengths are shaders of their own.
        let steps = (rows * width).next_power_of_two().ilog2().next_multiple_of(2);
        let z_floats = (1 << steps.max(10)).min(floats);
        let bound = if lane_rows < wanted_rows || sets > fitting / lane_rows {
            Bound::WorkgroupMemory(caps.workgroup_bytes)
        } else if wanted_lanes > lanes && most_lanes < MOST_LANES {
            Bound::Lanes(caps.workgroup_lanes)
        } else if wanted_rows < MOST_LANE_ROWS {
            Bound::Problem
        } else {
            Bound::Registers
        };
        let lane_quads = lane_quads as u32;
        let z_vectors = q.is_multiple_of(4) && l.is_multiple_of(4);
        Ok((Self { lanes, rows, lane_rows, lane_quads, z_floats, z_vectors }, bound))
    }
}

impl MonarchRows {
    /// Turns that the loops of a lane take, over both factors.
    fn turns(&self, spec: &MonarchSpec) -> u64 {
        let ([k, q, p], [l, s, r]) = (spec.w1, spec.w2);
        let shares = |quads: usize| quads.div_ceil(self.lane_quads as usize);
        let turns = |items: usize, inputs: usize| {
            let items = items as u64 * u64::from(self.rows / self.lane_rows);
            items.div_ceil(self.lanes.into()) * (1 + inputs.div_ceil(4) as u64)
        };
        turns(k * shares(q.div_ceil(4)), p) + turns(l.div_ceil(4) * shares(s), r)
    }
}

fn previous_power_of_two(size: u32) -> u32 {
    1 << size.ilog2()
}

impl BlockTile {
    /// For a factor whose rows hold block after block: quads run along the outputs of a block.
    fn blocked(batch: usize, shape: [usize; 3], caps: &Caps) -> Result<(Self, Bound), PlanError> {
        let [blocks, height, _] = shape.map(power_of_two);
        let height = height.clamp(4, 64);
        let tile = Self { rows: 64, blocks: blocks.min(64 / height), height, width: 4, lane_quads: 4 };
        tile.fit(batch, shape, height / 4, caps)
    }

    /// For a factor whose rows interleave the blocks: quads run across blocks, eight of which fill a sector of memory.
    fn interleaved(batch: usize, shape: [usize; 3], caps: &Caps) -> Result<(Self, Bound), PlanError> {
        let [blocks, height, _] = shape.map(power_of_two);
        let (blocks, height) = (blocks.clamp(4, 8), height.min(32));
        Self { rows: 32, blocks, height, width: 4, lane_quads: 4 }.fit(batch, shape, height, caps)
    }

    /// Cuts the tile down to the problem and the adapter. `quads` may share a lane.
    fn fit(
        self,
        batch: usize,
        shape: [usize; 3],
        quads: u32,
        caps: &Caps,
    ) -> Result<(Self, Bound), PlanError> {
        let full = self.rows;
        let mut tile = Self { rows: power_of_two(batch).clamp(4, full), ..self };
        let mut bound = if tile.rows < full { Bound::Problem } else { Bound::Registers };
        tile.lane_quads = tile.lane_quads.min(quads);
        while tile.lane_quads > 1 && tile.lanes() < ENOUGH_LANES {
            tile.lane_quads /= 2;
        }
        while tile.rows > 4 && !tile.fits(caps) {
            bound = tile.excess(caps);
            tile.rows /= 2;
        }
        if !tile.fits(caps) {
            return Err(tile.too_small(caps));
        }
        let width = power_of_two(shape[2]).clamp(4, MOST_WIDTH);
        while tile.width < width {
            let wider = Self { width: tile.width * 2, ..tile };
            if !wider.fits(caps) {
                return Ok((tile, wider.excess(caps)));
            }
            if wider.workgroup_bytes() > MOST_TILE_BYTES {
                break;
            }
            tile = wider;
        }
        Ok((tile, bound))
    }

    /// Invocations of a workgroup: four rows and `lane_quads` quads each.
    pub fn lanes(&self) -> u32 {
        self.rows / 4 * self.quads() / self.lane_quads
    }

    /// Quads of outputs in a row of the tile.
    fn quads(&self) -> u32 {
        self.blocks * self.height / 4
    }

    /// Both tiles in f32: the weights, and the inputs of the rows.
    fn workgroup_bytes(&self) -> u32 {
        4 * self.width * self.blocks * (self.height + self.rows)
    }

    /// Turns that the loops of a lane take over this many inputs of a block.
    fn turns(&self, interleaved: bool, inputs: usize) -> u64 {
        let [width, rows, blocks] = [self.width, self.rows, self.blocks];
        let weights = width / 4 * self.quads();
        let words = if interleaved { width * rows * (blocks / 4) } else { width / 4 * blocks * (rows / 4) };
        let staged = weights.div_ceil(self.lanes()) + words.div_ceil(self.lanes());
        inputs.div_ceil(width as usize) as u64 * u64::from(1 + staged + width)
    }

    fn fits(&self, caps: &Caps) -> bool {
        self.footprint().fits(caps)
    }

    fn excess(&self, caps: &Caps) -> Bound {
        if self.lanes() > caps.workgroup_lanes {
            Bound::Lanes(caps.workgroup_lanes)
        } else {
            Bound::WorkgroupMemory(caps.workgroup_bytes)
        }
    }

    fn too_small(&self, caps: &Caps) -> PlanError {
        let (resource, needed, limit) = match self.excess(caps) {
            Bound::Lanes(limit) => ("invocations a workgroup", self.lanes(), limit),
            _ => ("bytes of workgroup memory", self.workgroup_bytes(), caps.workgroup_bytes),
        };
        let (needed, limit) = (u64::from(needed), u64::from(limit));
        PlanError::TooSmall { kernel: "a Monarch product", resource, needed, limit }
    }

    fn footprint(&self) -> Footprint {
        Footprint {
            kernel: "butterfly/block_diagonal",
            lanes: self.lanes(),
            workgroup_bytes: self.workgroup_bytes(),
            storage_buffers: 3,
        }
    }
}

impl Plan for MonarchPlan {
    fn footprints(&self) -> Vec<Footprint> {
        match &self.path {
            MonarchPath::Fused(rows) => vec![Footprint {
                kernel: "butterfly/monarch",
                lanes: rows.lanes,
                workgroup_bytes: rows.z_floats * 4,
                storage_buffers: 4,
            }],
            MonarchPath::TwoPass { first, second, .. } => vec![first.footprint(), second.footprint()],
        }
    }
}

impl fmt::Display for MonarchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, x, w1, w2, y, bound } = self;
        match path {
            MonarchPath::Fused(MonarchRows { lanes, rows, lane_rows, lane_quads, z_floats, .. }) => {
                let bytes = Bytes(u64::from(*z_floats) * 4);
                write!(
                    f,
                    "fused, {rows} rows a workgroup in {bytes}, {lanes} lanes of {lane_rows} rows × {lane_quads} quads"
                )?;
            }
            MonarchPath::TwoPass { first, second, .. } => {
                write!(f, "two passes through f32 scratch, {first}, then {second}")?;
            }
        }
        if [w1, w2, y].iter().all(|storage| *storage == x) {
            write!(f, "; {x}; {bound}")
        } else {
            write!(f, "; x {x}; w1 {w1}; w2 {w2}; y {y}; {bound}")
        }
    }
}

impl fmt::Display for BlockTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, blocks, height, width, .. } = self;
        let bytes = Bytes(u64::from(self.workgroup_bytes()));
        write!(
            f,
            "{rows} rows × {blocks} blocks × {height} of {width} inputs in {bytes}, {} lanes",
            self.lanes()
        )
    }
}
