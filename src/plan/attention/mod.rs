//! Plans of the attention family.

mod append;
mod merge;

pub use append::{AppendPlan, RotatePlan, RowsPlan};
pub use merge::{MergePlan, Parts};

use std::fmt;

use crate::caps::{Bytes, Caps};
use crate::plan::{Bound, Exchange, Footprint, Plan, check_binding, check_caps};
use crate::shader::Storage;
use crate::{Alibi, AttentionSpec, DType, MergeSpec, PlanError};

/// How to run an [`AttentionSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AttentionPlan {
    /// Width of a query and a key.
    pub head_dim: u32,
    /// Width of a value.
    pub value_dim: u32,
    /// Lanes down a tile of scores.
    pub row_lanes: u32,
    /// Lanes across a tile of scores.
    pub key_lanes: u32,
    /// Queries of a lane, in fours.
    pub row_fours: u32,
    /// How much of the head dimension is staged in workgroup memory at a time.
    pub head_slice: u32,
    /// Keys whose values are staged in workgroup memory at a time.
    pub key_slice: u32,
    /// How lanes find the maximum and the sum of a row.
    pub exchange: Exchange,
    /// How `q` and `k` are stored.
    pub key_storage: Storage,
    /// How `v` and `o` are stored.
    pub value_storage: Storage,
    /// Whether scores are capped.
    pub softcap: bool,
    /// Whether there are linear biases.
    pub alibi: bool,
    /// Parts of the keys that workgroups of their own attend to. One: a single kernel. More: a second puts the parts
    /// together.
    pub splits: u32,
    /// Keys of a split, a multiple of the tile.
    pub split_keys: u32,
    /// How splits are put together, if there are several.
    pub merge: Option<MergePlan>,
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// The lanes of a workgroup and their share of a tile: `row_lanes × key_lanes` lanes of `row_fours × 4` queries by
/// four keys.
#[derive(Clone, Copy)]
struct Tile {
    row_lanes: u32,
    key_lanes: u32,
    row_fours: u32,
    /// The widest values for which a lane's share of the output stays in registers beside its scores.
    widest: u32,
}

/// Tiles in order of preference, from what was measured on an NVIDIA H200 for heads of 64, 128 and 256. More queries a
/// tile mean that keys and values are staged less often. The last ones are for few queries, and spread the lanes over
/// the keys instead.
const TILES: [Tile; 6] = [
    Tile { row_lanes: 16, key_lanes: 16, row_fours: 2, widest: 192 },
    Tile { row_lanes: 32, key_lanes: 8, row_fours: 1, widest: 64 },
    Tile { row_lanes: 16, key_lanes: 8, row_fours: 1, widest: 256 },
    Tile { row_lanes: 8, key_lanes: 8, row_fours: 1, widest: 256 },
    Tile { row_lanes: 4, key_lanes: 16, row_fours: 1, widest: 256 },
    Tile { row_lanes: 1, key_lanes: 32, row_fours: 1, widest: 256 },
];

/// The largest slice of the head dimension: longer ones hardly save barriers.
const HEAD_SLICE: u32 = 32;

/// Workgroups that occupy a large GPU. Only queries that fit one tile are split for it: for more of them the parts would
/// take the memory that fusing saves.
const OCCUPYING: usize = 2048;

/// Tiles of keys below which a split costs more to put together than it gains.
const LEAST_TILES: usize = 4;

impl AttentionPlan {
    /// Plans attention. Fails if the spec is wrong, a tensor exceeds a binding, or not even the smallest tile fits.
    pub fn new(spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("attention", caps)?;
        check_bindings(spec, caps)?;
        // The smallest tile has the last word.
        let [larger @ .., smallest] = TILES;
        let mut bound = Bound::Registers;
        for tile in larger {
            bound = if tile.too_tall(spec.q_len) {
                Bound::Problem
            } else if spec.value_dim > tile.widest as usize {
                Bound::Registers
            } else {
                match Self::with_tile(spec, caps, tile) {
                    Ok(plan) => return Self { bound, ..plan }.split(spec, caps),
                    Err(excess) => excess.bound,
                }
            };
        }
        match Self::with_tile(spec, caps, smallest) {
            Ok(plan) => Self { bound, ..plan }.split(spec, caps),
            Err(Excess { resource, needed, limit, .. }) => {
                let (needed, limit) = (needed.into(), limit.into());
                Err(PlanError::TooSmall { kernel: "attention", resource, needed, limit })
            }
        }
    }

    /// The plan with this tile and the largest slices that fit, or what it has too much of.
    fn with_tile(spec: &AttentionSpec, caps: &Caps, tile: Tile) -> Result<Self, Excess> {
        let Tile { row_lanes, key_lanes, row_fours, .. } = tile;
        let storage = |dim: usize| Storage::new(spec.dtype, caps.f16, dim.is_multiple_of(4));
        let mut plan = Self {
            head_dim: spec.head_dim as u32,
            value_dim: spec.value_dim as u32,
            row_lanes,
            key_lanes,
            row_fours,
            head_slice: head_slice(spec.head_dim as u32),
            key_slice: key_lanes * 4,
            exchange: Exchange::choose(row_lanes * key_lanes, key_lanes, caps),
            key_storage: storage(spec.head_dim),
            value_storage: storage(spec.value_dim),
            softcap: spec.softcap.is_some(),
            alibi: spec.alibi != Alibi::None,
            splits: 1,
            split_keys: (spec.k_len as u32).next_multiple_of(key_lanes * 4),
            merge: None,
            bound: Bound::Registers,
        };
        if plan.lanes() > caps.workgroup_lanes {
            return Err(Excess::of_lanes(plan.lanes(), caps));
        }
        // Values take the place of keys. A longer slice of them would save barriers, but the memory that it adds
        // keeps other workgroups from running beside this one, which costs more.
        while plan.key_slice > 4 && plan.value_slice_bytes() > plan.key_slice_bytes() {
            plan.key_slice /= 2;
        }
        while plan.workgroup_bytes() > caps.workgroup_bytes {
            let values_are_larger = plan.value_slice_bytes() >= plan.key_slice_bytes();
            if values_are_larger && plan.key_slice > 4 {
                plan.key_slice /= 2;
            } else if plan.head_slice > 4 {
                plan.head_slice = (plan.head_slice / 2).next_multiple_of(4);
            } else {
                return Err(Excess::of_memory(plan.workgroup_bytes(), caps));
            }
        }
        Ok(plan)
    }

    /// Splits the keys where few workgroups would do all the work, or where one would go over more of them than the
    /// driver lets it.
    fn split(self, spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        let tiles = spec.k_len.div_ceil(self.keys() as usize);
        let groups = spec.batch * spec.heads;
        let idle = if spec.q_len <= self.queries() as usize { OCCUPYING / groups.min(OCCUPYING) } else { 1 };
        let gainful = idle.min(tiles / LEAST_TILES).max(1);
        let longest = caps.loop_turns.map_or(tiles, |turns| (turns / self.tile_turns()).max(1) as usize);
        let split_tiles = tiles.div_ceil(gainful).min(longest);
        let splits = tiles.div_ceil(split_tiles);
        let merge =
            (splits > 1).then(|| MergePlan::of_splits(&MergeSpec::of(spec), splits, caps)).transpose()?;
        Ok(Self { splits: splits as u32, split_keys: split_tiles as u32 * self.keys(), merge, ..self })
    }

    /// Turns that the loops of a lane take over a tile of keys, at most.
    fn tile_turns(&self) -> u32 {
        let staged = |fours: u32| fours.div_ceil(self.lanes());
        let [queries, keys, dims] = [self.queries(), self.keys(), self.head_slice / 4];
        let slices = self.head_dim.div_ceil(self.head_slice);
        let scores = slices * (1 + staged(queries * dims) + staged(keys / 4 * dims) + dims);
        let values = staged(self.key_slice * self.value_dim.div_ceil(4)) + self.key_slice / 4;
        let exchanged = self.row_fours * self.key_lanes;
        1 + scores + keys / self.key_slice * (1 + values) + exchanged
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.row_lanes * self.key_lanes
    }

    /// Queries of a tile.
    pub fn queries(&self) -> u32 {
        self.row_lanes * self.row_fours * 4
    }

    /// Keys of a tile.
    pub fn keys(&self) -> u32 {
        self.key_lanes * 4
    }

    /// Slices of queries, and the probabilities of a tile, take turns in the same rows, padded by four.
    fn left_bytes(&self) -> u32 {
        self.queries() * (self.head_slice.max(self.keys()) + 4) * 4
    }

    /// A slice of keys: rows padded by four.
    fn key_slice_bytes(&self) -> u32 {
        self.head_slice * (self.keys() + 4) * 4
    }

    fn value_slice_bytes(&self) -> u32 {
        self.key_slice * self.value_dim.next_multiple_of(4) * 4
    }

    fn workgroup_bytes(&self) -> u32 {
        // Four f32 a lane.
        let exchanged = if self.exchange == Exchange::Workgroup { self.lanes() * 16 } else { 0 };
        self.left_bytes() + self.key_slice_bytes().max(self.value_slice_bytes()) + exchanged
    }
}

/// A limit of the adapter that a tile exceeds.
struct Excess {
    bound: Bound,
    resource: &'static str,
    needed: u32,
    limit: u32,
}

impl Excess {
    fn of_lanes(needed: u32, caps: &Caps) -> Self {
        let limit = caps.workgroup_lanes;
        Self { bound: Bound::Lanes(limit), resource: "invocations a workgroup", needed, limit }
    }

    fn of_memory(needed: u32, caps: &Caps) -> Self {
        let limit = caps.workgroup_bytes;
        Self { bound: Bound::WorkgroupMemory(limit), resource: "bytes of workgroup memory", needed, limit }
    }
}

impl Tile {
    /// Whether a tile of half the queries would still hold all of them.
    fn too_tall(self, q_len: usize) -> bool {
        let queries = self.row_lanes * self.row_fours * 4;
        queries > 4 && queries as usize / 2 >= q_len
    }
}

/// Slices of equal length, so that the last is not mostly padding.
fn head_slice(head_dim: u32) -> u32 {
    head_dim.div_ceil(head_dim.div_ceil(HEAD_SLICE)).next_multiple_of(4)
}

fn check_bindings(spec: &AttentionSpec, caps: &Caps) -> Result<(), PlanError> {
    let AttentionSpec { dtype, .. } = *spec;
    let check = |tensor, shape: &[usize], dtype| check_binding(tensor, shape.iter().product(), dtype, caps);
    check("q", &spec.q_shape(), dtype)?;
    check("k", &spec.k_shape(), dtype)?;
    check("v", &spec.v_shape(), dtype)?;
    check("o", &spec.o_shape(), dtype)?;
    check("lse", &spec.lse_shape(), DType::F32)?;
    check("the ALiBi slopes", &spec.alibi_shape(), DType::F32)
}

impl Plan for AttentionPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let forward = Footprint {
            kernel: "attention/forward",
            lanes: self.lanes(),
            workgroup_bytes: self.workgroup_bytes(),
            storage_buffers: 6,
        };
        let combine = self.merge.as_ref().map_or(vec![], Plan::footprints);
        [vec![forward], combine].concat()
    }
}

impl fmt::Display for AttentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row_fours, head_slice, key_slice, exchange, key_storage, value_storage, bound, .. } = self;
        let bytes = Bytes(u64::from(self.workgroup_bytes()));
        write!(f, "q {} × kv {}, ", self.queries(), self.keys())?;
        if self.splits > 1 {
            write!(f, "keys in {} splits of {}, ", self.splits, self.split_keys)?;
        }
        write!(f, "{} lanes of ", self.lanes())?;
        write!(f, "{} × 4 scores, rows through {exchange}, {bytes} of ", row_fours * 4)?;
        write!(f, "workgroup memory for slices of {head_slice} dimensions and {key_slice} values; ")?;
        if key_storage == value_storage {
            write!(f, "{key_storage}; {bound}")
        } else {
            write!(f, "q, k {key_storage}; v, o {value_storage}; {bound}")
        }
    }
}
