//! Plans of sums of what workgroups left side by side.

use crate::plan::Footprint;
use crate::shader::Storage;

/// How slices are summed, always in the same order: `common/sum_slices`. No atomics: gradients repeat bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SliceSumPlan {
    /// Lanes that share a sum.
    pub spread: u32,
    /// How what is summed is stored.
    pub slices: Storage,
    /// How sums are stored.
    pub sums: Storage,
}

impl SliceSumPlan {
    /// Invocations of a workgroup.
    pub(crate) const LANES: u32 = 64;

    /// Lanes that share a sum of many slices.
    pub(crate) const SPREAD: u32 = 8;

    /// A lane for each sum of four numbers: for few slices, or sums enough to occupy the GPU.
    pub(crate) fn alone(slices: Storage, sums: Storage) -> Self {
        Self { spread: 1, slices, sums }
    }

    pub(crate) fn footprint() -> Footprint {
        Footprint {
            kernel: "common/sum_slices",
            lanes: Self::LANES,
            workgroup_bytes: Self::LANES * 16,
            storage_buffers: 2,
        }
    }
}
