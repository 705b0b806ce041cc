//! Plans of the kernels and steps of S4D.

use std::fmt;

use crate::caps::Caps;
use crate::plan::{Footprint, Plan, check_binding, check_caps, check_turns};
use crate::shader::Storage;
use crate::spec::S4dSpec;
use crate::{DType, LongConvSpec, PlanError};

/// How to run the kernels of an [`S4dSpec`], their gradients and its steps; its convolution has a plan of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct S4dPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Bits of the largest exponent: powers of two of each mode that the host computes.
    pub bits: u32,
    /// How sequences and gates are stored.
    pub storage: Storage,
    /// Whether sequences are gated.
    pub pre_gate: bool,
    /// Whether the result is gated.
    pub post_gate: bool,
    /// Whether there is a `D`.
    pub skip: bool,
}

impl S4dPlan {
    /// Plans the kernels. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &S4dSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("S4D", caps)?;
        // A power of two: lanes halve while they are summed.
        let lanes = 1 << caps.workgroup_lanes.min(256).ilog2();
        let tile_bits = 2 + u32::ilog2(lanes);
        // At least those of a lane's share of a tile.
        let bits = (usize::BITS - (spec.conv.length - 1).leading_zeros()).max(tile_bits);
        check_binding("the modes", spec.modes() * (1 + bits as usize) * 2, DType::F32, caps)?;
        check_binding("the states", spec.conv.batch * spec.modes() * 2, DType::F32, caps)?;
        check_binding("the kernels", spec.conv.channels * spec.conv.length, DType::F32, caps)?;
        let tiles = spec.conv.length.div_ceil(4 << u32::ilog2(lanes)) as u64;
        let sums = tiles * u64::from(5 + bits - tile_bits);
        check_turns("S4D", sums.max(spec.pairs as u64 * u64::from(5 + tile_bits)), caps)?;
        let LongConvSpec { pre_gate, post_gate, skip, .. } = spec.conv;
        let storage = Storage::new(spec.conv.dtype, caps.f16, false);
        Ok(Self { lanes, bits, storage, pre_gate, post_gate, skip })
    }

    /// Bits of a place in a tile of four samples a lane.
    pub(crate) fn tile_bits(&self) -> u32 {
        2 + self.lanes.ilog2()
    }
}

impl Plan for S4dPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, workgroup_bytes, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes,
            storage_buffers,
        };
        vec![
            kernel("scan/s4d_kernel", self.lanes * 8, 2),
            kernel("scan/s4d_sums", self.lanes * 16, 4),
            kernel("scan/s4d_sums", self.lanes * 16, 4),
            kernel("scan/s4d_step", 0, 7),
        ]
    }
}

impl fmt::Display for S4dPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lanes, bits, storage, .. } = self;
        write!(
            f,
            "kernels from {bits} powers of each mode, {} samples a workgroup; {lanes} lanes, {storage}",
            4 * lanes
        )
    }
}
