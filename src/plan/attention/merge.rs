//! Plans of merges.

use std::fmt;

use crate::caps::Caps;
use crate::plan::{Exchange, Footprint, Plan, check_binding, check_caps, check_turns};
use crate::shader::Storage;
use crate::{DType, MergeSpec, PlanError};

/// Where the parts lie that are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Parts {
    /// Two outputs of the caller's.
    Pair,
    /// One after the other, as splits of the keys leave them.
    Stacked,
}

/// How to run a [`MergeSpec`], or to put the splits of one attention together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MergePlan {
    /// Width of a value.
    pub value_dim: u32,
    /// Where the parts lie.
    pub parts: Parts,
    /// How the parts are stored.
    pub part_storage: Storage,
    /// How `o` is stored.
    pub storage: Storage,
    /// Lanes that share the parts of a row.
    pub part_lanes: u32,
    /// How those lanes exchange sums.
    pub exchange: Exchange,
}

/// Invocations of a workgroup.
const LANES: u32 = 64;

/// Lanes over which splits are spread: there can be hundreds of them for a single row.
const SPLIT_LANES: u32 = 32;

impl MergePlan {
    /// Plans a merge. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &MergeSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a merge", caps)?;
        check_binding("o", spec.o_shape().iter().product(), spec.dtype, caps)?;
        check_binding("lse", spec.lse_shape().iter().product(), DType::F32, caps)?;
        let storage = Storage::new(spec.dtype, caps.f16, spec.value_dim.is_multiple_of(4));
        Ok(Self {
            value_dim: spec.value_dim as u32,
            parts: Parts::Pair,
            part_storage: storage,
            storage,
            part_lanes: 1,
            exchange: Exchange::choose(LANES, 1, caps),
        })
    }

    /// Plans to put that many splits together, each of outputs and log-sum-exps as in the spec, in f32.
    pub(super) fn of_splits(spec: &MergeSpec, splits: usize, caps: &Caps) -> Result<Self, PlanError> {
        let plan = Self::new(spec, caps)?;
        let outputs = splits.saturating_mul(spec.o_shape().iter().product());
        check_binding("the outputs of the splits", outputs, DType::F32, caps)?;
        let sums = splits.saturating_mul(spec.lse_shape().iter().product());
        check_binding("the log-sum-exps of the splits", sums, DType::F32, caps)?;
        // Two loops over the parts, and three exchanges between lanes.
        let turns = 2 * (splits as u64).div_ceil(SPLIT_LANES.into()) + 3 * u64::from(SPLIT_LANES);
        check_turns("attention/combine", turns, caps)?;
        Ok(Self {
            parts: Parts::Stacked,
            part_storage: Storage { vectors: plan.storage.vectors, ..Storage::F32 },
            part_lanes: SPLIT_LANES,
            exchange: Exchange::choose(LANES, SPLIT_LANES, caps),
            ..plan
        })
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        LANES
    }

    /// Workgroups for that many rows.
    pub(crate) fn groups(&self, rows: usize) -> u32 {
        let fours = rows as u32 * self.value_dim.div_ceil(4);
        fours.div_ceil(LANES / self.part_lanes)
    }
}

impl Plan for MergePlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![Footprint {
            kernel: "attention/combine",
            lanes: LANES,
            // Four f32 a lane.
            workgroup_bytes: if self.exchange == Exchange::Workgroup { LANES * 16 } else { 0 },
            storage_buffers: match self.parts {
                Parts::Pair => 6,
                Parts::Stacked => 4,
            },
        }]
    }
}

impl fmt::Display for MergePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part_lanes, exchange, storage, .. } = self;
        write!(f, "{LANES} lanes, {part_lanes} a row of four columns, sums through {exchange}; {storage}")
    }
}
