//! The plan of attention, backward.

use std::fmt;

use super::tile::{Lanes, Products, choose};
use super::{AttentionPath, AttentionStructure, MatrixTile, VisitTable, check_bindings, check_mods};
use crate::caps::Caps;
use crate::plan::{
    Bound, Exchange, Footprint, Plan, SliceSumPlan, check_binding, check_buffers, check_caps, check_turns,
};
use crate::shader::Storage;
use crate::{Alibi, AttentionSpec, DType, Mods, PlanError};

/// How to compute the gradients of an [`AttentionSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AttentionBackwardPlan {
    /// What all kernels of the family share.
    pub structure: AttentionStructure,
    /// Queries by keys, for the gradient of the queries.
    pub queries: AttentionPath,
    /// Keys by queries, for the gradients of keys and values.
    pub keys: AttentionPath,
    /// The tiles of keys that a tile of queries visits, where mods hide some.
    pub query_visits: Option<VisitTable>,
    /// The tiles of queries that a tile of keys visits.
    pub key_visits: Option<VisitTable>,
    /// How the lanes of a row add what the pass over the queries needs to know of it.
    pub exchange: Exchange,
    /// Parts of the keys for workgroups of their own. One: the gradient is written at once. More: another kernel adds
    /// the parts.
    pub query_splits: u32,
    /// Parts of the queries, of all heads that share a key head.
    pub key_splits: u32,
    /// How parts are stored until they are added: `dq` and `dk`.
    pub key_parts: Storage,
    /// The same of `dv`.
    pub value_parts: Storage,
    /// Whether slopes, and so their gradients, differ from batch to batch.
    pub slopes_by_batch: bool,
    /// What kept the tile of queries from being larger.
    pub bound: Bound,
    /// What kept the tile of keys from being larger.
    pub key_bound: Bound,
}

/// Tiles in order of preference. Two products are in registers at a time, and for keys two sums as well, which leaves less
/// room than forward.
const TILES: [Lanes; 5] = [
    Lanes { row_lanes: 16, column_lanes: 16, row_fours: 1, sums: 512 },
    Lanes { row_lanes: 16, column_lanes: 8, row_fours: 1, sums: 256 },
    Lanes { row_lanes: 8, column_lanes: 8, row_fours: 1, sums: 256 },
    Lanes { row_lanes: 4, column_lanes: 16, row_fours: 1, sums: 512 },
    Lanes { row_lanes: 1, column_lanes: 32, row_fours: 1, sums: 512 },
];

/// Workgroups that keep a large GPU busy. Fewer tiles than that are split, where there is enough to do in each.
const BUSY: usize = 256;

/// Tiles to visit below which a split costs more to add than it gains.
const LEAST_VISITS: usize = 8;

/// Lanes of a row in `attention/backward_rows`.
const FACT_LANES: u32 = 8;

impl AttentionBackwardPlan {
    /// Lanes of the kernels that prepare and add.
    pub const LANES: u32 = 64;

    /// Plans the gradients. Fails if the spec is wrong, a tensor exceeds a binding, or not even the smallest tile fits.
    pub fn new(spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::with_mods(spec, &Mods::default(), caps)
    }

    /// Plans the gradients of attention with mods. Fails also if they are wrong, or a score mod has no gradient.
    pub fn with_mods(spec: &AttentionSpec, mods: &Mods, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_mods(spec, mods)?;
        mods.check_backward()?;
        check_caps("attention backward", caps)?;
        check_bindings(spec, caps)?;
        check_binding("the facts of the queries", spec.rows().saturating_mul(4), DType::F32, caps)?;
        let structure = AttentionStructure::new(spec, mods, caps);
        let dots = structure.head_dim.max(structure.value_dim);
        let products = Products {
            kernel: "attention backward",
            rows: structure.mods.query_rows(spec.q_len),
            dots,
            widest: structure.head_dim,
            sums: structure.head_dim,
            exchanges: structure.alibi,
        };
        let held = structure.head_dim / 2 + structure.value_dim / 2;
        let (queries, bound) = path(products, held + structure.head_dim, &structure, caps)?;
        let products = Products {
            rows: structure.mods.key_rows(spec.k_len),
            widest: dots,
            sums: structure.head_dim + structure.value_dim,
            exchanges: false,
            ..products
        };
        let held = held + structure.head_dim + structure.value_dim;
        let (keys, key_bound) = path(products, held, &structure, caps)?;
        let table =
            |(queries, keys), by_keys| VisitTable::new(spec, &structure.mods, (queries, keys), by_keys, caps);
        let query_visits = table((queries.rows(), queries.columns()), false)?;
        let key_visits = table((keys.columns(), keys.rows()), true)?;
        let parts = |storage: Storage| Storage { vectors: storage.vectors, ..Storage::F32 };
        let mut plan = Self {
            structure,
            queries,
            keys,
            query_visits,
            key_visits,
            exchange: Exchange::choose(Self::LANES, FACT_LANES, caps),
            query_splits: 1,
            key_splits: 1,
            key_parts: parts(structure.key_storage),
            value_parts: parts(structure.value_storage),
            slopes_by_batch: spec.alibi == Alibi::PerBatchHead,
            bound,
            key_bound,
        };
        plan.split(spec, caps)?;
        plan.structure.bring_together(caps, |structure| Self { structure, ..plan }.footprints());
        for footprint in plan.footprints() {
            check_buffers(&footprint, caps)?;
        }
        Ok(plan)
    }

    /// Splits what a tile visits where few workgroups would do all the work, or where one would go over more than the
    /// driver lets it.
    fn split(&mut self, spec: &AttentionSpec, caps: &Caps) -> Result<(), PlanError> {
        let group = spec.heads / spec.kv_heads;
        let tiles = |length: usize, of: u32| length.div_ceil(of as usize).max(1);
        let splits = |visits: usize, groups: usize, turns: u32| {
            let gainful = (BUSY / groups.clamp(1, BUSY)).min(visits / LEAST_VISITS).max(1);
            let longest = caps.loop_turns.map_or(visits, |limit| (limit / turns).max(1) as usize);
            visits.div_ceil(visits.div_ceil(gainful).min(longest).max(1))
        };
        let visits = tiles(spec.k_len, self.queries.columns());
        let groups = spec.batch * spec.heads * tiles(spec.q_len, self.queries.rows());
        let query_splits = splits(visits, groups, self.query_turns());
        let visits = group * tiles(spec.q_len, self.keys.columns());
        let groups = spec.batch * spec.kv_heads * tiles(spec.k_len, self.keys.rows());
        // Going over the heads takes turns too.
        check_turns("attention/backward_keys", 2 * group as u64, caps)?;
        let key_splits = splits(visits, groups, self.key_turns());
        let parts = |splits: usize, shape: &[usize]| splits.saturating_mul(shape.iter().product());
        if query_splits > 1 {
            check_binding("the parts of dq", parts(query_splits, &spec.q_shape()), DType::F32, caps)?;
        }
        if key_splits > 1 {
            check_binding("the parts of dk", parts(key_splits, &spec.k_shape()), DType::F32, caps)?;
            check_binding("the parts of dv", parts(key_splits, &spec.v_shape()), DType::F32, caps)?;
        }
        if self.structure.alibi {
            let terms = query_splits.saturating_mul(spec.rows()).saturating_mul(4);
            check_binding("the terms of dalibi", terms, DType::F32, caps)?;
        }
        if self.structure.alibi || self.structure.sinks {
            let turns = spec.batch as u64 + (query_splits * spec.batch * spec.q_len).div_ceil(64) as u64;
            check_turns("attention/sum_terms", turns, caps)?;
        }
        (self.query_splits, self.key_splits) = (query_splits as u32, key_splits as u32);
        Ok(())
    }

    /// How parts of `dq` and `dk` are added.
    pub(crate) fn key_sum(&self) -> SliceSumPlan {
        SliceSumPlan::alone(self.key_parts, self.structure.key_storage)
    }

    /// How parts of `dv` are added.
    pub(crate) fn value_sum(&self) -> SliceSumPlan {
        SliceSumPlan::alone(self.value_parts, self.structure.value_storage)
    }

    /// Queries and keys of a tile, for the gradient of the queries.
    pub(crate) fn query_tile(&self) -> (u32, u32) {
        (self.queries.rows(), self.queries.columns())
    }

    /// Queries and keys of a tile, for the gradients of keys and values.
    pub(crate) fn key_tile(&self) -> (u32, u32) {
        (self.keys.columns(), self.keys.rows())
    }

    /// Turns that the loops of a lane take over a tile of keys, at most.
    fn query_turns(&self) -> u32 {
        let AttentionStructure { head_dim, value_dim, .. } = self.structure;
        let block_turns = self.structure.block_turns();
        match self.queries {
            AttentionPath::Lanes(tile) => {
                let dots = tile.dot_turns(head_dim) + tile.dot_turns(value_dim);
                1 + dots + tile.sum_turns(head_dim) + 4 * block_turns
            }
            AttentionPath::Matrices(tile) => tile.turns(block_turns),
        }
    }

    /// The same over a tile of queries.
    fn key_turns(&self) -> u32 {
        let AttentionStructure { head_dim, value_dim, .. } = self.structure;
        let block_turns = self.structure.block_turns();
        match self.keys {
            AttentionPath::Lanes(tile) => {
                let dots = tile.dot_turns(head_dim) + tile.dot_turns(value_dim);
                1 + dots + tile.sum_turns(head_dim) + tile.sum_turns(value_dim) + 4 * block_turns
            }
            AttentionPath::Matrices(tile) => tile.turns(block_turns),
        }
    }
}

/// What multiplies, for rows of which so many numbers stay in registers on matrix units.
fn path(
    products: Products,
    held: u32,
    structure: &AttentionStructure,
    caps: &Caps,
) -> Result<(AttentionPath, Bound), PlanError> {
    if let Some(tile) = MatrixTile::square(structure, products.rows, held, caps) {
        return Ok((AttentionPath::Matrices(tile), Bound::Registers));
    }
    let (tile, bound) = choose(&TILES, products, caps)?;
    Ok((AttentionPath::Lanes(tile), bound))
}

impl Plan for AttentionBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let Self { structure, queries, keys, exchange, .. } = *self;
        let sequences = structure.sequence_buffers();
        let footprint = |kernel, lanes, workgroup_bytes, storage_buffers| Footprint {
            kernel,
            lanes,
            workgroup_bytes,
            storage_buffers,
        };
        let exchanged = if exchange == Exchange::Workgroup { Self::LANES * 16 } else { 0 };
        let slopes = u32::from(structure.alibi);
        let mods = &structure.mods;
        let mut footprints = VisitTable::footprints(mods);
        footprints.extend(VisitTable::footprints(mods));
        footprints.extend([
            footprint(
                "attention/backward_rows",
                Self::LANES,
                exchanged,
                4 + sequences + structure.head_buffers(),
            ),
            footprint(
                queries.kernel(["attention/backward_queries", "attention/backward_queries_matrix"]),
                queries.lanes(),
                queries.workgroup_bytes(),
                6 + slopes + structure.modded_buffers(self.query_tile()),
            ),
        ]);
        let sum_parts = SliceSumPlan::footprint();
        if self.query_splits > 1 {
            footprints.push(sum_parts);
        }
        footprints.push(footprint(
            keys.kernel(["attention/backward_keys", "attention/backward_keys_matrix"]),
            keys.lanes(),
            keys.workgroup_bytes(),
            7 + structure.modded_buffers(self.key_tile()),
        ));
        if self.key_splits > 1 {
            footprints.extend([sum_parts; 2]);
        }
        let sum_terms = footprint("attention/sum_terms", Self::LANES, Self::LANES * 4, 2 + sequences);
        footprints.extend(structure.alibi.then_some(sum_terms));
        footprints.extend(structure.sinks.then_some(sum_terms));
        footprints
    }
}

impl fmt::Display for AttentionBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { structure, queries, keys, bound, key_bound, .. } = self;
        write!(f, "dq: q {} × kv {}, ", queries.rows(), queries.columns())?;
        if self.query_splits > 1 {
            write!(f, "keys in {} splits, ", self.query_splits)?;
        }
        write!(f, "{}, {bound} | ", queries.explain())?;
        write!(f, "dk, dv: kv {} × q {}, ", keys.rows(), keys.columns())?;
        if self.key_splits > 1 {
            write!(f, "queries in {} splits, ", self.key_splits)?;
        }
        write!(f, "{}, {key_bound} | {structure}", keys.explain())
    }
}
