//! Plans of the sums of what workgroups leave apart.

use crate::PlanError;
use crate::caps::Caps;
use crate::plan::{Footprint, check_turns};

/// How to sum what workgroups leave apart: always in the same order, so that gradients are repeatable bit by bit, which
/// atomic additions are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SumPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Quads of neighbouring sums that a workgroup takes.
    pub quads: u32,
}

impl SumPlan {
    /// The one there is: eight lanes a quad, and as many neighbouring quads as make whole cache lines.
    pub(crate) fn new() -> Self {
        Self { lanes: 64, quads: 8 }
    }

    /// Fails if a sum of that many terms takes more turns than the driver lets a loop.
    pub(crate) fn check(self, terms: usize, caps: &Caps) -> Result<(), PlanError> {
        let turns = terms.div_ceil((self.lanes / self.quads) as usize) as u64;
        check_turns("the sum of the gradients' parts", 4 * turns + 16, caps)
    }

    pub(crate) fn footprint(self) -> Footprint {
        let Self { lanes, .. } = self;
        Footprint { kernel: "scan/sum_terms", lanes, workgroup_bytes: lanes * 16, storage_buffers: 2 }
    }
}
