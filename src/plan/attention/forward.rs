//! The plan of attention, forward.

use std::fmt;

use super::tile::{Lanes, Products, choose};
use super::{AttentionStructure, AttentionTile, VisitTable, bind_too_many, check_bindings, check_mods};
use crate::caps::Caps;
use crate::plan::{Bound, Footprint, Plan, check_binding, check_caps};
use crate::shader::Storage;
use crate::{AttentionSpec, DType, Mods, PlanError};

/// How to run an [`AttentionSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AttentionPlan {
    /// What all kernels of the family share.
    pub structure: AttentionStructure,
    /// Queries by keys.
    pub tile: AttentionTile,
    /// The tiles of keys to visit, where mods hide some.
    pub visits: Option<VisitTable>,
    /// Parts of the keys that workgroups of their own attend to. One: a single kernel. More: a second puts the parts
    /// together.
    pub splits: u32,
    /// How the outputs of the splits are stored until they are put together.
    pub parts: Storage,
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// Tiles in order of preference, from what was measured on an NVIDIA H200 for heads of 64, 128 and 256. More queries a
/// tile mean that keys and values are staged less often. The last ones are for few queries, and spread the lanes over
/// the keys instead.
const TILES: [Lanes; 6] = [
    Lanes { row_lanes: 16, column_lanes: 16, row_fours: 2, sums: 192 },
    Lanes { row_lanes: 32, column_lanes: 8, row_fours: 1, sums: 64 },
    Lanes { row_lanes: 16, column_lanes: 8, row_fours: 1, sums: 256 },
    Lanes { row_lanes: 8, column_lanes: 8, row_fours: 1, sums: 256 },
    Lanes { row_lanes: 4, column_lanes: 16, row_fours: 1, sums: 256 },
    Lanes { row_lanes: 1, column_lanes: 32, row_fours: 1, sums: 256 },
];

/// Workgroups that occupy a large GPU. Only queries that fit one tile are split for it: for more of them the parts would
/// take the memory that fusing saves.
const OCCUPYING: usize = 2048;

/// Tiles of keys below which a split costs more to put together than it gains.
const LEAST_TILES: usize = 4;

/// Lanes of the kernel that puts splits together.
const COMBINE_LANES: u32 = 64;

impl AttentionPlan {
    /// Plans attention. Fails if the spec is wrong, a tensor exceeds a binding, or not even the smallest tile fits.
    pub fn new(spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::with_mods(spec, &Mods::default(), caps)
    }

    /// Plans attention with mods. Fails also if they are wrong, or read more buffers than a kernel can bind.
    pub fn with_mods(spec: &AttentionSpec, mods: &Mods, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_mods(spec, mods)?;
        check_caps("attention", caps)?;
        check_bindings(spec, caps)?;
        let structure = AttentionStructure::new(spec, mods, caps);
        let products = Products {
            kernel: "attention",
            rows: structure.mods.rows(spec.q_len),
            dots: structure.head_dim,
            widest: structure.value_dim,
            sums: structure.value_dim,
            exchanges: true,
        };
        let (tile, bound) = choose(&TILES, products, caps)?;
        let parts = Storage { vectors: structure.value_storage.vectors, ..Storage::F32 };
        let visits = VisitTable::new(spec, &structure.mods, (tile.rows(), tile.columns()), false, caps)?;
        let mut plan = Self { structure, tile, visits, splits: 1, parts, bound }.split(spec, caps)?;
        plan.structure.mods.together = bind_too_many(&plan.footprints(), caps);
        Ok(plan)
    }

    /// Splits the keys where few workgroups would do all the work, or where one would go over more of them than the
    /// driver lets it.
    fn split(self, spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        let tiles = spec.k_len.div_ceil(self.tile.columns() as usize);
        let groups = spec.batch * spec.heads;
        let few = spec.q_len <= self.tile.rows() as usize;
        let idle = if few { OCCUPYING / groups.min(OCCUPYING) } else { 1 };
        let gainful = idle.min(tiles / LEAST_TILES).max(1);
        let longest = caps.loop_turns.map_or(tiles, |turns| (turns / self.tile_turns()).max(1) as usize);
        let split_tiles = tiles.div_ceil(gainful).min(longest);
        let splits = tiles.div_ceil(split_tiles);
        if splits > 1 {
            let outputs = splits.saturating_mul(spec.o_shape().iter().product());
            check_binding("the outputs of the splits", outputs, DType::F32, caps)?;
            let sums = splits.saturating_mul(spec.lse_shape().iter().product());
            check_binding("the log-sum-exps of the splits", sums, DType::F32, caps)?;
        }
        Ok(Self { splits: splits as u32, ..self })
    }

    /// Turns that the loops of a lane take over a tile of keys, at most.
    fn tile_turns(&self) -> u32 {
        let AttentionStructure { head_dim, value_dim, .. } = self.structure;
        1 + self.tile.dot_turns(head_dim) + self.tile.sum_turns(value_dim) + self.tile.exchange_turns()
    }

    /// Queries and keys of a tile.
    pub(crate) fn tile_sizes(&self) -> (u32, u32) {
        (self.tile.rows(), self.tile.columns())
    }

    /// Invocations of a workgroup that puts splits together.
    pub fn combine_lanes(&self) -> u32 {
        COMBINE_LANES
    }
}

impl Plan for AttentionPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let forward = Footprint {
            kernel: "attention/forward",
            lanes: self.tile.lanes(),
            workgroup_bytes: self.tile.workgroup_bytes(),
            storage_buffers: 5 + self.structure.storage_buffers(self.tile_sizes()),
        };
        let mut footprints = VisitTable::footprints(&self.structure.mods);
        footprints.push(forward);
        if self.splits == 1 {
            return footprints;
        }
        let combine = Footprint {
            kernel: "attention/combine",
            lanes: COMBINE_LANES,
            workgroup_bytes: 0,
            storage_buffers: 4,
        };
        footprints.push(combine);
        footprints
    }
}

impl fmt::Display for AttentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { structure, tile, splits, bound, .. } = self;
        write!(f, "q {} × kv {}, ", tile.rows(), tile.columns())?;
        if *splits > 1 {
            write!(f, "keys in {splits} splits, ")?;
        }
        write!(f, "{}; {structure}; {bound}", tile.explain())
    }
}
