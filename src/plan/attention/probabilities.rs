//! The plan of attention's probabilities.

use std::fmt;

use super::tile::{Lanes, Products, choose};
use super::{AttentionStructure, AttentionTile, check_bindings, check_mods};
use crate::caps::Caps;
use crate::plan::{Bound, Footprint, Plan, check_binding, check_buffers, check_caps};
use crate::shader::Storage;
use crate::spec::elements;
use crate::{AttentionSpec, Mods, PlanError};

/// How to compute the probabilities of an [`AttentionSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AttentionProbabilitiesPlan {
    /// What all kernels of the family share.
    pub structure: AttentionStructure,
    /// Queries by keys.
    pub tile: AttentionTile,
    /// How the probabilities are stored.
    pub storage: Storage,
    /// What kept the tile from being larger.
    pub bound: Bound,
}

/// Tiles in order of preference.
const TILES: [Lanes; 4] = [
    Lanes { row_lanes: 16, column_lanes: 16, row_fours: 1, sums: 0 },
    Lanes { row_lanes: 8, column_lanes: 8, row_fours: 1, sums: 0 },
    Lanes { row_lanes: 4, column_lanes: 16, row_fours: 1, sums: 0 },
    Lanes { row_lanes: 1, column_lanes: 32, row_fours: 1, sums: 0 },
];

impl AttentionProbabilitiesPlan {
    /// Plans the probabilities. Fails if the spec is wrong, a tensor exceeds a binding, which the probabilities do first, or
    /// not even the smallest tile fits.
    pub fn new(spec: &AttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::with_mods(spec, &Mods::default(), caps)
    }

    /// Plans the probabilities of attention with mods. Fails also if they are wrong.
    pub fn with_mods(spec: &AttentionSpec, mods: &Mods, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_mods(spec, mods)?;
        check_caps("attention/probabilities", caps)?;
        check_bindings(spec, caps)?;
        let count = elements("the probabilities", &spec.probabilities_shape())?;
        check_binding("the probabilities", count, spec.dtype, caps)?;
        let structure = AttentionStructure::new(spec, mods, caps);
        // What is hidden is written too, as zeros; and the sinks are in the log-sum-exps.
        let structure =
            AttentionStructure { mods: structure.mods.asked_everywhere(), sinks: false, ..structure };
        let products = Products {
            kernel: "attention/probabilities",
            rows: spec.q_len,
            dots: structure.head_dim,
            widest: 0,
            sums: 0,
            exchanges: false,
        };
        let (tile, bound) = choose(&TILES, products, caps)?;
        let storage = Storage::new(spec.dtype, caps.f16, spec.k_len.is_multiple_of(4));
        let mut plan = Self { structure, tile, storage, bound };
        plan.structure.bring_together(caps, |structure| Self { structure, ..plan }.footprints());
        for footprint in plan.footprints() {
            check_buffers(&footprint, caps)?;
        }
        Ok(plan)
    }
}

impl AttentionProbabilitiesPlan {
    /// Queries and keys of a tile.
    pub(crate) fn tile_sizes(&self) -> (u32, u32) {
        (self.tile.rows(), self.tile.columns())
    }
}

impl Plan for AttentionProbabilitiesPlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![Footprint {
            kernel: "attention/probabilities",
            lanes: self.tile.lanes(),
            workgroup_bytes: self.tile.workgroup_bytes(),
            storage_buffers: 4
                + self.structure.head_buffers()
                + self.structure.modded_buffers(self.tile_sizes()),
        }]
    }
}

impl fmt::Display for AttentionProbabilitiesPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { structure, tile, storage, bound } = self;
        write!(f, "q {} × kv {}, {}; ", tile.rows(), tile.columns(), tile.explain())?;
        write!(f, "{structure}; p {storage}; {bound}")
    }
}
