//! Plans of single steps of recurrences.

use std::fmt;

use super::chunked::{Steps, record_words};
use crate::caps::Caps;
use crate::plan::{Exchange, Footprint, Plan, check_binding, check_caps};
use crate::shader::Storage;
use crate::spec::Recurrence;
use crate::{DType, DeltaRuleSpec, LinearAttentionSpec, PlanError, Skip, SsdSpec};

/// How to take one step of every sequence of an [`SsdSpec`], a [`LinearAttentionSpec`] or a [`DeltaRuleSpec`], as decoding
/// does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TokenPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Lanes across a state, which meet in each row's result.
    pub column_lanes: u32,
    /// How these lanes exchange what they summed.
    pub exchange: Exchange,
    /// How `x`, `z` and the result are stored.
    pub x: Storage,
    /// How `b` and `c` are stored.
    pub b: Storage,
    /// What the step's decay is made of.
    pub steps: Steps,
    /// Whether `x` skips the recurrence.
    pub skip: bool,
    /// Whether the result is gated.
    pub gated: bool,
}

/// Room for the steps of a chunk of one step.
pub(crate) const ROOM: u32 = 4;

impl TokenPlan {
    /// Plans a step of state-space duality. Fails if the spec is wrong or more than the adapter holds.
    pub fn ssd(spec: &SsdSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::new(&spec.recurrence(), caps)
    }

    /// Plans a step of linear attention. Fails if the spec is wrong or more than the adapter holds.
    pub fn linear_attention(spec: &LinearAttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::new(&spec.recurrence(), caps)
    }

    /// Plans a step of the delta rule. Fails if the spec is wrong or more than the adapter holds.
    pub fn delta_rule(spec: &DeltaRuleSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::new(&spec.recurrence(), caps)
    }

    fn new(of: &Recurrence, caps: &Caps) -> Result<Self, PlanError> {
        check_caps("a step of a recurrence", caps)?;
        check_binding("the states", of.states() * of.heads * of.cells(), DType::F32, caps)?;
        let records = of.states() * of.heads * record_words(ROOM as usize);
        check_binding("the steps of the sequences", records, DType::F32, caps)?;
        let vectors = |width: usize| Storage::new(of.dtype, caps.f16, width.is_multiple_of(4));
        let (lanes, column_lanes) = (64, 16);
        Ok(Self {
            lanes,
            column_lanes,
            exchange: Exchange::choose(lanes, column_lanes, caps),
            x: vectors(of.x_dim),
            b: vectors(of.b_dim),
            steps: Steps::new(of.decay),
            skip: of.skip != Skip::None,
            gated: of.gated,
        })
    }

    /// Whether columns of a state decay each on its own.
    pub(crate) fn keyed(&self) -> bool {
        self.steps == Steps::Keyed
    }

    /// Rows of a state that a workgroup takes.
    pub(crate) fn rows(&self) -> u32 {
        self.lanes / self.column_lanes * 4
    }
}

impl Plan for TokenPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let exchanged = match self.exchange {
            Exchange::Workgroup => self.lanes * 16,
            Exchange::Subgroup => 0,
        };
        let kernel = |kernel, workgroup_bytes, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes,
            storage_buffers,
        };
        vec![
            kernel("scan/chunk_steps", 0, 2 + self.steps.tensors()),
            kernel("scan/token", exchanged + 8 * ROOM, 7 + u32::from(self.gated) + u32::from(self.keyed())),
        ]
    }
}

impl fmt::Display for TokenPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, column_lanes, exchange, x, .. } = self;
        write!(f, "{} rows of a state × {column_lanes} lanes across, {lanes} lanes", self.rows())?;
        write!(f, " through {exchange}, states in place, {x}")
    }
}
