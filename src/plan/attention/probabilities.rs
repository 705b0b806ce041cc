//! The plan of attention's probabilities.

use std::fmt;

use super::tile::{Lanes, Products, choose};
use super::{AttentionStructure, AttentionTile, check_bindings};
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
        spec.check()?;
        check_caps("attention/probabilities", caps)?;
        check_bindings(spec, caps)?;
        let count = elements("the probabilities", &spec.probabilities_shape())?;
        check_binding("the probabilities", count, spec.dtype, caps)?;
        let structure = AttentionStructure::new(spec, &Mods::default(), caps);
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
        let plan = Self { structure, tile, storage, bound };
        for footprint in plan.footprints() {
            check_buffers(&footprint, caps)?;
        }
        Ok(plan)
    }
}

impl Plan for AttentionProbabilitiesPlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![Footprint {
            kernel: "attention/probabilities",
            lanes: self.tile.lanes(),
            workgroup_bytes: self.tile.workgroup_bytes(),
            // The sinks are in the log-sum-exps.
            storage_buffers: 4 + self.structure.storage_buffers() - u32::from(self.structure.sinks),
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
