//! Plans of a step of the long convolution.

use std::fmt;

use crate::caps::Caps;
use crate::plan::{Footprint, Plan, check_binding, check_caps, check_turns};
use crate::shader::Storage;
use crate::{DType, LongConvSpec, PlanError};

/// How to run a step of a [`LongConvSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LongConvStepPlan {
    /// Invocations of a workgroup, which share a sequence's history.
    pub lanes: u32,
    /// How sequences and gates are stored.
    pub storage: Storage,
    /// Whether sequences are gated.
    pub pre_gate: bool,
    /// Whether the result is gated.
    pub post_gate: bool,
    /// Whether there is a `D`.
    pub skip: bool,
}

impl LongConvStepPlan {
    /// Plans a step. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &LongConvSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a step of a long convolution", caps)?;
        check_binding("u", spec.rows() * spec.length, spec.dtype, caps)?;
        check_binding("the history", spec.rows() * spec.taps, DType::F32, caps)?;
        // A power of two, which halves while lanes are summed.
        let lanes =
            (spec.taps as u32).next_power_of_two().clamp(32, 256.min(1 << caps.workgroup_lanes.ilog2()));
        check_turns("a step of a long convolution", spec.taps as u64 / u64::from(lanes) + 9, caps)?;
        let LongConvSpec { pre_gate, post_gate, skip, .. } = *spec;
        let storage = Storage::new(spec.dtype, caps.f16, false);
        Ok(Self { lanes, storage, pre_gate, post_gate, skip })
    }
}

impl Plan for LongConvStepPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, workgroup_bytes, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes,
            storage_buffers,
        };
        vec![kernel("scan/long_conv_history", 0, 3), kernel("scan/long_conv_step", self.lanes * 4, 7)]
    }
}

impl fmt::Display for LongConvStepPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, storage, .. } = self;
        write!(f, "sums over a history, a workgroup a sequence; {lanes} lanes, {storage}")
    }
}
