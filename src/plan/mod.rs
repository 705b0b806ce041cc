//! How to compute a spec on an adapter: a pure function of the spec and the adapter's [`Caps`].
//!
//! A plan holds every decision, and nothing of wgpu: it can be made, compared and explained for a machine that is
//! not here. Its `Display` explains it. Structural decisions become constants of the shader; sizes that change from
//! call to call travel in uniforms, so that a new length never compiles a new shader.

mod attention;
mod butterfly;
mod matrix_product;
mod scan;
mod slice_sum;

pub use attention::{
    AppendPlan, AttentionBackwardPlan, AttentionPath, AttentionPlan, AttentionProbabilitiesPlan,
    AttentionStructure, AttentionTile, CacheStructure, DirectTile, ForwardPath, MatrixPass, MatrixTile,
    MergePlan, ModsStructure, Parts, RotatePlan, RowsPlan, VisitTable,
};
pub(crate) use attention::{VISIT_LANES, block_words};
pub use butterfly::{
    BlockSoftmaxPlan, BlockSparsePath, BlockSparsePlan, BlockTile, ButterflyBackwardPlan,
    ButterflyLinearPlan, ButterflyPass, ButterflyPlan, ButterflyTile, ColumnSumsPlan, MonarchBackwardPlan,
    MonarchLinearPlan, MonarchPath, MonarchPlan, MonarchRows, OuterPlan, PixelflyBackwardPlan, PixelflyPlan,
    PixelflyStorage, ProductTile, SparseProductPlan,
};
pub(crate) use butterfly::{DOT_ELEMENTS, DOT_LANES, GRADIENT_LANES, Side, Sides, Window, gradient_cells};
pub(crate) use scan::{
    ChunkKernel, DeltaKernel, DeltaPair, DeltaProduct, KeyedKernel, KeyedProduct, LongConvStage, Mixed,
    Reads, RowWindow, TOKEN_ALIGNMENT, TOKEN_ROOM, Writes, record_words,
};
pub use scan::{
    ChunkedBackwardPlan, ChunkedPlan, Conv1dBackwardPlan, Conv1dPlan, Conv1dStepPlan, DeltaPass,
    DeltaRuleBackwardPlan, DeltaRulePlan, KeyedBackwardPlan, KeyedPlan, LinearAttentionBackwardPlan,
    LinearAttentionPlan, LongConvBackwardPlan, LongConvPlan, LongConvStepPlan, RowScanBackwardPlan,
    RowScanPlan, S4dPlan, SelectiveScanBackwardPlan, SelectiveScanPlan, SelectiveScanSlice, Steps, SumPlan,
    TokenPlan,
};

pub use matrix_product::MatrixProduct;
pub(crate) use matrix_product::Summed;
pub use slice_sum::SliceSumPlan;

use std::fmt;

use crate::caps::{Bytes, Caps};
use crate::{DType, PlanError};

/// What one kernel of a plan takes of the adapter's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Footprint {
    /// The kernel's file name without its ending.
    pub kernel: &'static str,
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Bytes of workgroup memory, exactly.
    pub workgroup_bytes: u32,
    /// Storage buffers bound.
    pub storage_buffers: u32,
}

impl Footprint {
    /// Whether an adapter can run the kernel.
    pub fn fits(&self, caps: &Caps) -> bool {
        self.lanes <= caps.workgroup_lanes
            && self.workgroup_bytes <= caps.workgroup_bytes
            && self.storage_buffers <= caps.storage_buffers
    }
}

/// A plan of any family.
pub trait Plan: Clone + fmt::Debug + fmt::Display + Eq + std::hash::Hash {
    /// What each kernel of the plan takes, in the order in which they run.
    fn footprints(&self) -> Vec<Footprint>;
}

/// How the lanes of a workgroup exchange values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Exchange {
    /// Through workgroup memory.
    Workgroup,
    /// Through shuffles within subgroups.
    Subgroup,
}

impl Exchange {
    /// Shuffles, where every subgroup has at least `least` lanes and none is part-filled, whichever size it has.
    fn choose(lanes: u32, least: u32, caps: &Caps) -> Self {
        match caps.subgroups {
            Some(sizes) if sizes.min >= least && lanes.is_multiple_of(sizes.max) => Self::Subgroup,
            _ => Self::Workgroup,
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Workgroup => "workgroup memory",
            Self::Subgroup => "subgroup shuffles",
        })
    }
}

/// Which limit kept a plan from being larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Bound {
    /// The adapter's workgroup memory, in bytes.
    WorkgroupMemory(u32),
    /// The adapter's invocations in a workgroup.
    Lanes(u32),
    /// The problem is small.
    Problem,
    /// The largest tile that pays: beyond it registers spill.
    Registers,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkgroupMemory(limit) => {
                write!(f, "bound by {} of workgroup memory", Bytes(u64::from(*limit)))
            }
            Self::Lanes(limit) => write!(f, "bound by {limit} invocations a workgroup"),
            Self::Problem => f.write_str("bound by the size of the problem"),
            Self::Registers => f.write_str("bound by registers"),
        }
    }
}

/// Fails if a tensor of that many elements cannot be bound at once.
pub(crate) fn check_binding(
    tensor: &'static str,
    elements: usize,
    dtype: DType,
    caps: &Caps,
) -> Result<(), PlanError> {
    let bytes = (elements * dtype.bytes()) as u64;
    let bytes = bytes.next_multiple_of(16);
    let limit = caps.binding_bytes.min(caps.buffer_bytes);
    if bytes > limit { Err(PlanError::Binding { tensor, bytes, limit }) } else { Ok(()) }
}

/// Fails if a tensor of that many elements, of which kernels bind parts, is more than a buffer.
pub(crate) fn check_tensor(
    tensor: &'static str,
    elements: usize,
    dtype: DType,
    caps: &Caps,
) -> Result<(), PlanError> {
    let (bytes, limit) = (elements as u64 * dtype.bytes() as u64, caps.buffer_bytes);
    if bytes > limit { Err(PlanError::Buffer { tensor, bytes, limit }) } else { Ok(()) }
}

/// Where a part of a buffer may start that is bound: what every WebGPU implementation takes.
pub(crate) const PART_ALIGNMENT: u64 = 256;

/// Fails if a kernel binds more buffers than the adapter lets it. Plans that need few options never do.
pub(crate) fn check_buffers(footprint: &Footprint, caps: &Caps) -> Result<(), PlanError> {
    let Footprint { kernel, storage_buffers, .. } = *footprint;
    let (needed, limit) = (storage_buffers.into(), caps.storage_buffers.into());
    if needed > limit {
        return Err(PlanError::TooSmall { kernel, resource: "storage buffers", needed, limit });
    }
    Ok(())
}

/// Fails if the loops of one invocation take more turns than the driver lets them. Loops of at most eight turns that a
/// constant bounds are not counted: compilers unroll them.
pub(crate) fn check_turns(kernel: &'static str, turns: u64, caps: &Caps) -> Result<(), PlanError> {
    match caps.loop_turns.map(u64::from) {
        Some(limit) if turns > limit => {
            Err(PlanError::TooSmall { kernel, resource: "turns of a kernel's loops", needed: turns, limit })
        }
        _ => Ok(()),
    }
}

/// Fails on capabilities below any that WebGPU allows, on which plans do not count.
pub(crate) fn check_caps(kernel: &'static str, caps: &Caps) -> Result<(), PlanError> {
    let least = [
        ("invocations a workgroup", 64, caps.workgroup_lanes),
        ("bytes of workgroup memory", 4 << 10, caps.workgroup_bytes),
        ("workgroups along a dimension", 1 << 10, caps.groups_per_dim),
        ("storage buffers", 8, caps.storage_buffers),
    ];
    match least.into_iter().find(|(_, needed, limit)| limit < needed) {
        Some((resource, needed, limit)) => {
            Err(PlanError::TooSmall { kernel, resource, needed: needed.into(), limit: limit.into() })
        }
        None => Ok(()),
    }
}
