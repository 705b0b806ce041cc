//! The plan of attention, forward.

use std::fmt;

use super::tile::{Lanes, Products, choose};
use super::{
    AttentionStructure, AttentionTile, DirectTile, MatrixTile, MergePlan, VisitTable, check_bindings,
    check_mods,
};
use crate::caps::Caps;
use crate::plan::{Bound, Footprint, Plan, check_buffers, check_caps};
use crate::{AttentionSpec, MergeSpec, Mods, PlanError};

/// How to run an [`AttentionSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AttentionPlan {
    /// What all kernels of the family share.
    pub structure: AttentionStructure,
    /// Queries by keys, and what multiplies them.
    pub path: ForwardPath,
    /// Whether a tile's rows are the queries of all heads that share a key head, instead of one head's.
    pub grouped: bool,
    /// The tiles of keys to visit, where mods hide some.
    pub visits: Option<VisitTable>,
    /// Parts of the keys that workgroups of their own attend to. One: a single kernel. More: a second puts the parts
    /// together.
    pub splits: u32,
    /// How splits are put together, if there are several.
    pub merge: Option<MergePlan>,
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// What multiplies queries by keys, and weights by values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum AttentionPath {
    /// Each lane, with f32 multiply-adds: `attention/forward`, `attention/backward_*`.
    Lanes(AttentionTile),
    /// Matrix units: `attention/*_matrix`.
    Matrices(MatrixTile),
}

impl AttentionPath {
    /// Queries of a tile.
    pub fn rows(&self) -> u32 {
        match self {
            Self::Lanes(tile) => tile.rows(),
            Self::Matrices(tile) => tile.rows(),
        }
    }

    /// Keys of a tile.
    pub fn columns(&self) -> u32 {
        match self {
            Self::Lanes(tile) => tile.columns(),
            Self::Matrices(tile) => tile.columns,
        }
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        match self {
            Self::Lanes(tile) => tile.lanes(),
            Self::Matrices(tile) => tile.lanes(),
        }
    }

    /// Which of two kernels it is: that of lanes, or that of matrix units.
    pub(super) fn kernel(&self, [lanes, matrices]: [&'static str; 2]) -> &'static str {
        match self {
            Self::Lanes(_) => lanes,
            Self::Matrices(_) => matrices,
        }
    }

    pub(super) fn workgroup_bytes(&self) -> u32 {
        match self {
            Self::Lanes(tile) => tile.workgroup_bytes(),
            Self::Matrices(tile) => tile.workgroup_bytes(),
        }
    }

    /// Tiles of keys that the loops of a lane go over in that many turns, at least.
    fn tiles_within(&self, turns: u32, structure: &AttentionStructure) -> u32 {
        let AttentionStructure { head_dim, value_dim, .. } = *structure;
        let (outer, each) = match self {
            Self::Lanes(tile) => {
                let blocks = tile.row_fours * 4 * structure.block_turns();
                let products = tile.dot_turns(head_dim) + tile.sum_turns(value_dim);
                let each = 1 + blocks + products + tile.exchange_turns();
                (tile.exchange_turns(), each)
            }
            Self::Matrices(tile) => (tile.outer_turns(), tile.turns(structure.block_turns())),
        };
        turns.saturating_sub(outer) / each
    }

    pub(super) fn explain(&self) -> String {
        match self {
            Self::Lanes(tile) => tile.explain(),
            Self::Matrices(tile) => tile.explain(),
        }
    }
}

/// How a forward pass goes over the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum ForwardPath {
    /// By tiles that a workgroup stages.
    Staged(AttentionPath),
    /// Each lane by what it reads, for few queries.
    Direct(DirectTile),
}

impl ForwardPath {
    /// Queries of a tile.
    pub fn rows(&self) -> u32 {
        match self {
            Self::Staged(path) => path.rows(),
            Self::Direct(tile) => tile.rows,
        }
    }

    /// Keys of a tile.
    pub fn columns(&self) -> u32 {
        match self {
            Self::Staged(path) => path.columns(),
            Self::Direct(tile) => tile.columns(),
        }
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        match self {
            Self::Staged(path) => path.lanes(),
            Self::Direct(tile) => tile.lanes(),
        }
    }

    fn kernel(&self) -> &'static str {
        match self {
            Self::Staged(path) => path.kernel(["attention/forward", "attention/forward_matrix"]),
            Self::Direct(_) => "attention/forward_direct",
        }
    }

    fn workgroup_bytes(&self) -> u32 {
        match self {
            Self::Staged(path) => path.workgroup_bytes(),
            Self::Direct(tile) => tile.workgroup_bytes(),
        }
    }

    /// Tiles of keys that the loops of a lane go over in that many turns, at least.
    fn tiles_within(&self, turns: u32, structure: &AttentionStructure) -> u32 {
        match self {
            Self::Staged(path) => path.tiles_within(turns, structure),
            Self::Direct(tile) => {
                turns.saturating_sub(tile.outer_turns()) / tile.turns(structure.block_turns())
            }
        }
    }

    fn explain(&self) -> String {
        match self {
            Self::Staged(path) => path.explain(),
            Self::Direct(tile) => tile.explain(),
        }
    }
}

/// Tiles in order of preference, from what was measured on an NVIDIA H200 for heads of 64, 128 and 256. More queries a
/// tile mean that keys and values are staged less often. The last ones are for few queries, and spread the lanes over
/// the keys instead; for very few, columns are not staged at all ([`DirectTile`]).
const TILES: [Lanes; 6] = [
    Lanes { row_lanes: 16, column_lanes: 16, row_fours: 2, sums: 192 },
    Lanes { row_lanes: 32, column_lanes: 8, row_fours: 1, sums: 64 },
    Lanes { row_lanes: 16, column_lanes: 8, row_fours: 1, sums: 256 },
    Lanes { row_lanes: 8, column_lanes: 8, row_fours: 1, sums: 256 },
    Lanes { row_lanes: 4, column_lanes: 16, row_fours: 1, sums: 256 },
    Lanes { row_lanes: 1, column_lanes: 32, row_fours: 1, sums: 256 },
];

/// Queries from which on a head's own fill the tallest tile.
const TALLEST: usize = 128;

/// Lanes that occupy a large GPU. Only queries that fit one tile are split for it: for more of them the parts would take
/// the memory that fusing saves.
const OCCUPYING: usize = 1 << 17;

/// Tiles of keys below which a split costs more to put together than it gains.
const LEAST_TILES: usize = 4;

impl AttentionPlan {
    /// Plans attention. Fails if the spec is wrong, a tensor exceeds a binding, or not even the smallest tile fits.
    pub fn new(spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::with_mods(spec, &Mods::default(), caps)
    }

    /// Plans attention with mods. Fails also if they are wrong.
    pub fn with_mods(spec: &AttentionSpec, mods: &Mods, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_mods(spec, mods)?;
        check_caps("attention", caps)?;
        check_bindings(spec, caps)?;
        Self::with_structure(spec, AttentionStructure::new(spec, mods, caps), caps)
    }

    /// The plan for keys and values that lie so. They have passed their checks.
    pub(super) fn with_structure(
        spec: &AttentionSpec,
        structure: AttentionStructure,
        caps: &Caps,
    ) -> Result<Self, PlanError> {
        // Few queries of one head leave most of a tile idle, and keys to be read again for the next head. Tables of tiles
        // to visit are made for the queries of one head.
        let alone = structure.mods.has_table();
        let grouped = !alone && spec.heads > spec.kv_heads && spec.q_len < TALLEST;
        let products = Products {
            kernel: "attention",
            rows: structure.mods.query_rows(spec.q_len)
                * if grouped { spec.heads / spec.kv_heads } else { 1 },
            dots: structure.head_dim,
            widest: structure.value_dim,
            sums: structure.value_dim,
            exchanges: true,
        };
        let direct = if alone { None } else { DirectTile::choose(products, caps) };
        let (path, bound) = if let Some(tile) = direct {
            (ForwardPath::Direct(tile), Bound::Problem)
        } else if let Some(tile) = MatrixTile::choose(&structure, products.rows, caps) {
            (ForwardPath::Staged(AttentionPath::Matrices(tile)), Bound::Registers)
        } else {
            let (tile, bound) = choose(&TILES, products, caps)?;
            (ForwardPath::Staged(AttentionPath::Lanes(tile)), bound)
        };
        let visits = VisitTable::new(spec, &structure.mods, (path.rows(), path.columns()), false, caps)?;
        let plan = Self { structure, path, grouped, visits, splits: 1, merge: None, bound };
        let mut plan = plan.split(spec, caps)?;
        plan.structure.bring_together(caps, |structure| Self { structure, ..plan }.footprints());
        for footprint in plan.footprints() {
            check_buffers(&footprint, caps)?;
        }
        Ok(plan)
    }

    /// Splits the keys where few workgroups would do all the work, or where one would go over more of them than the
    /// driver lets it.
    fn split(self, spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        let tiles = spec.k_len.div_ceil(self.path.columns() as usize).max(1);
        let (rows, heads) = self.rows(spec);
        if rows == 0 {
            return Ok(self);
        }
        let groups = spec.batch * heads;
        let occupying = OCCUPYING / self.path.lanes() as usize;
        let idle = if rows <= self.path.rows() as usize { occupying / groups.min(occupying) } else { 1 };
        let gainful = idle.min(tiles / LEAST_TILES).max(1);
        let longest = caps
            .loop_turns
            .map_or(tiles, |turns| self.path.tiles_within(turns, &self.structure).max(1) as usize);
        let split_tiles = tiles.div_ceil(gainful).min(longest);
        let splits = tiles.div_ceil(split_tiles);
        let merge =
            (splits > 1).then(|| MergePlan::of_splits(&MergeSpec::of(spec), splits, caps)).transpose()?;
        Ok(Self { splits: splits as u32, merge, ..self })
    }

    /// Rows of a sequence that tiles are made of, and heads that have such rows.
    pub(crate) fn rows(&self, spec: &AttentionSpec) -> (usize, usize) {
        let group = self.group(spec);
        (spec.q_len * group, spec.heads / group)
    }

    /// Rows that each query makes: heads that share a tile.
    pub(crate) fn group(&self, spec: &AttentionSpec) -> usize {
        if self.grouped { spec.heads / spec.kv_heads } else { 1 }
    }

    /// Queries and keys of a tile.
    pub(crate) fn tile_sizes(&self) -> (u32, u32) {
        (self.path.rows(), self.path.columns())
    }
}

impl Plan for AttentionPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let forward = Footprint {
            kernel: self.path.kernel(),
            lanes: self.path.lanes(),
            workgroup_bytes: self.path.workgroup_bytes(),
            storage_buffers: 5
                + self.structure.head_buffers()
                + self.structure.modded_buffers(self.tile_sizes()),
        };
        let visits = VisitTable::footprints(&self.structure.mods);
        let combine = self.merge.as_ref().map_or(vec![], Plan::footprints);
        [visits, vec![forward], combine].concat()
    }
}

impl fmt::Display for AttentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { structure, path, splits, bound, .. } = self;
        write!(f, "q {} × kv {}, ", path.rows(), path.columns())?;
        if *splits > 1 {
            write!(f, "keys in {splits} splits, ")?;
        }
        write!(f, "{}; {structure}; {bound}", path.explain())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::caps::WEBGPU_BASELINE;

    /// How many parts the keys are in.
    fn splits(spec: AttentionSpec, caps: &Caps) -> u32 {
        AttentionPlan::new(&spec, caps).expect("it fits").splits
    }

    #[test]
    fn keys_are_split_where_workgroups_are_few_or_loops_are_counted() {
        let bytes = 1 << 31;
        let caps = &Caps { loop_turns: None, binding_bytes: bytes, buffer_bytes: bytes, ..WEBGPU_BASELINE };
        let decoding = |batch, keys| AttentionSpec::new(DType::F16, batch, (1, keys), 8, 64).kv_heads(2);
        assert!(splits(decoding(1, 131_072), caps) > splits(decoding(1, 4096), caps));
        assert!(splits(decoding(1, 4096), caps) > 1);
        // The more sequences there are, the fewer splits it takes to occupy the adapter.
        assert!(splits(decoding(1, 131_072), caps) > splits(decoding(32, 131_072), caps));
        assert_eq!(splits(decoding(1, 64), caps), 1, "too few keys to be worth it");
        let square = AttentionSpec::new(DType::F16, 1, (4096, 4096), 8, 64);
        assert_eq!(splits(square, caps), 1, "queries enough");
        let counted = &Caps { loop_turns: Some(2000), ..WEBGPU_BASELINE };
        assert!(splits(square, counted) > 1);
    }

    #[test]
    fn heads_that_share_keys_are_rows_of_one_tile() {
        let plan = |q_len, kv_heads| {
            let spec = AttentionSpec::new(DType::F16, 3, (q_len, 4096), 32, 64).kv_heads(kv_heads);
            let plan = AttentionPlan::new(&spec, &WEBGPU_BASELINE).expect("it fits");
            (plan.rows(&spec), plan.grouped)
        };
        assert_eq!(plan(1, 4), ((8, 4), true));
        assert_eq!(plan(5, 4), ((40, 4), true));
        assert_eq!(plan(1, 32), ((1, 32), false));
        assert_eq!(plan(4096, 4), ((4096, 32), false), "one head's queries fill a tile");
    }
}
