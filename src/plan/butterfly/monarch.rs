//! Plans of the Monarch product.

use std::fmt;

use super::block_tile::{ENOUGH_LANES, power_of_two};
use super::product_tile::ProductTile;
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
    /// How `y` is stored, and a bias too.
    pub y: Storage,
    /// Whether a bias is added where the product is stored.
    pub bias: bool,
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
        first: ProductTile,
        /// Tile of the second factor, whose rows are interleaved.
        second: ProductTile,
        /// How the first pass writes the scratch. It is f16 where the second pass is on matrix units, which take
        /// nothing else. On lanes it is f32: the sums are, so that both paths compute the same, and a value between
        /// the factors can be too large for f16 where every `x` and `y` is not.
        written: Storage,
        /// How the second pass reads the scratch.
        read: Storage,
    },
}

impl MonarchPath {
    /// Bytes that move beside `x` and `y`, those from caches counted at their speed. Fused, a workgroup reads every
    /// weight for its few rows; in two passes for many, but what lies between the factors goes out and comes back.
    fn bytes(&self, spec: &MonarchSpec) -> f64 {
        let weights = |shape: [usize; 3], rows: u32| {
            let readers = spec.batch.div_ceil(rows as usize);
            (readers * shape.iter().product::<usize>() * spec.dtype.bytes()) as f64 / CACHE_SPEED
        };
        match self {
            Self::Fused(tile) => weights(spec.w1, tile.rows) + weights(spec.w2, tile.rows),
            Self::TwoPass { first, second, read, .. } => {
                let scratch = 2 * spec.batch * spec.n_mid() * read.bytes();
                scratch as f64 + weights(spec.w1, first.lines()) + weights(spec.w2, second.lines())
            }
        }
    }

    /// Whether both factors are multiplied on matrix units.
    fn is_on_matrices(&self) -> bool {
        matches!(self, Self::TwoPass { first, second, .. } if first.is_on_matrices() && second.is_on_matrices())
    }

    /// Turns that the loops of a lane take in the kernel with the most.
    fn turns(&self, spec: &MonarchSpec) -> u64 {
        match self {
            Self::Fused(rows) => rows.turns(spec),
            Self::TwoPass { first, second, .. } => first.turns(spec.w1[2]).max(second.turns(spec.w2[2])),
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

/// How many times faster caches give a weight again than memory gives it once. Two to five on GPUs of every class.
const CACHE_SPEED: f64 = 3.0;

/// How many times more the fused path may move and still be preferred: it takes no scratch and one dispatch less.
const SAVED_SCRATCH: f64 = 1.25;

/// Elements between the factors with which two passes on matrix units are worth their scratch: a few workgroups for each
/// compute unit of a large GPU.
const OCCUPIED: usize = 1 << 20;

/// Rows of a lane in the fused path below which a weight is used too rarely for what it takes to load.
const LEAST_LANE_ROWS: u32 = 4;

/// Rows of a lane in the fused path beyond which their sums, four for each, leave the registers.
const MOST_LANE_ROWS: u32 = 8;

/// Workgroups that occupy a large GPU: only batches that give more of them have more than the least rows a lane.
const OCCUPYING: usize = 128;

/// Lanes beyond which neither path grows; within what WebGPU guarantees.
const MOST_LANES: u32 = 256;

impl MonarchPlan {
    /// Plans a product on whichever path moves less. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &MonarchSpec, caps: &Caps) -> Result<Self, PlanError> {
        match (Self::fused(spec, caps), Self::two_pass(spec, caps)) {
            (Ok(fused), Ok(two_pass)) => {
                // What multiplies counts more than what moves, where there is enough to occupy matrix units.
                let on_matrices = two_pass.path.is_on_matrices() && spec.batch * spec.n_mid() >= OCCUPIED;
                let fused_pays = fused.path.bytes(spec) <= SAVED_SCRATCH * two_pass.path.bytes(spec);
                Ok(if fused_pays && !on_matrices { fused } else { two_pass })
            }
            (Ok(fused), Err(_)) => Ok(fused),
            (Err(_), two_pass) => two_pass,
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
        let stored = Storage::new(spec.dtype, caps.f16, p.is_multiple_of(4));
        let (first, _) = ProductTile::diagonal(spec.batch, [k, q, p], false, [stored; 2], caps);
        let by_runs_of = |dtype, run: usize| Storage::new(dtype, caps.f16, run.is_multiple_of(4));
        let operands = [by_runs_of(DType::F16, l), by_runs_of(spec.dtype, r)];
        let (second, bound) = ProductTile::interleaved(spec.batch, [l, s, r], false, operands, 1, caps);
        let between = if second.is_on_matrices() { DType::F16 } else { DType::F32 };
        let scratch = |run: usize| by_runs_of(between, run);
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
        Ok(Self { path, x, w1, w2, y, bias: false, bound })
    }
}

/// Rows that a lane takes in the fused path if memory allows.
fn lane_rows(spec: &MonarchSpec) -> u32 {
    let spread = (spec.batch / OCCUPYING).clamp(LEAST_LANE_ROWS as usize, MOST_LANE_ROWS as usize);
    previous_power_of_two(spread as u32).min(power_of_two(spec.batch))
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
        // A power of two, so that few lengths are shaders of their own. Memory left over would keep other workgroups
        // away.
        let z_floats = (rows * width).next_power_of_two().max(1024).min(floats);
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

impl Plan for MonarchPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let of_bias = u32::from(self.bias);
        match &self.path {
            MonarchPath::Fused(rows) => vec![Footprint {
                kernel: "butterfly/monarch",
                lanes: rows.lanes,
                workgroup_bytes: rows.z_floats * 4,
                storage_buffers: 4 + of_bias,
            }],
            MonarchPath::TwoPass { first, second, .. } => [(first, 3), (second, 3 + of_bias)]
                .map(|(tile, buffers)| tile.footprint("butterfly/block_diagonal", buffers))
                .to_vec(),
        }
    }
}

impl fmt::Display for MonarchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, x, w1, w2, y, bound, .. } = self;
        match path {
            MonarchPath::Fused(MonarchRows { lanes, rows, lane_rows, lane_quads, z_floats, .. }) => {
                let bytes = Bytes(u64::from(*z_floats) * 4);
                write!(
                    f,
                    "fused, {rows} rows a workgroup in {bytes}, {lanes} lanes of {lane_rows} rows × {lane_quads} quads"
                )?;
            }
            MonarchPath::TwoPass { first, second, read, .. } => {
                write!(f, "two passes through {} scratch, {first}, then {second}", read.format)?;
            }
        }
        if [w1, w2, y].iter().all(|storage| *storage == x) {
            write!(f, "; {x}; {bound}")
        } else {
            write!(f, "; x {x}; w1 {w1}; w2 {w2}; y {y}; {bound}")
        }
    }
}
