//! Plans of the linear scan.

use std::fmt;

use crate::caps::Caps;
use crate::plan::{Bound, Exchange, Footprint, Plan, check_binding, check_caps};
use crate::shader::Storage;
use crate::{DType, LinearScanSpec, PlanError};

/// How to run a [`LinearScanSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LinearScanPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Consecutive steps that a lane takes at a time.
    pub items: u32,
    /// How lanes exchange what they scanned.
    pub exchange: Exchange,
    /// How `a`, `b` and `h` are stored.
    pub storage: Storage,
    /// Whether rows begin with a given state.
    pub initial: bool,
    /// Whether steps are taken from the last to the first.
    pub reverse: bool,
    /// Steps of a chunk: a workgroup takes one chunk at a time.
    pub chunk: u32,
    /// Chunks of a row. One: a single pass in which a workgroup owns a row. More: three phases.
    pub chunks: u32,
    /// What kept the workgroup from being larger.
    pub bound: Bound,
}

/// Steps a lane takes at a time: two loads of four elements, few enough to stay in registers.
const ITEMS: u32 = 8;

/// The kernel has room for the totals of subgroups of at least this many lanes.
const LEAST_SUBGROUP: u32 = 4;

/// Workgroups that fill a large GPU. WebGPU does not tell how many an adapter runs at once; the largest run about a
/// thousand, and a small one loses little to having too many.
const FULL: u32 = 1024;

/// Chunks shorter than this many tiles cost more in carries than they gain.
const LEAST_TILES: u32 = 4;

impl LinearScanPlan {
    /// Plans a scan. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &LinearScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("a linear scan", caps)?;
        let elements = spec.rows() * spec.length;
        for tensor in ["a", "b", "h"] {
            check_binding(tensor, elements, spec.dtype, caps)?;
        }
        let (length, rows) = (spec.length as u32, spec.rows() as u32);
        let (lanes, bound) = lanes(length, caps);
        let (chunk, chunks) = chunks(rows, length, lanes * ITEMS);
        let plan = Self {
            lanes,
            items: ITEMS,
            exchange: Exchange::choose(lanes, LEAST_SUBGROUP, caps),
            storage: Storage::new(spec.dtype, caps.f16, length.is_multiple_of(4)),
            initial: spec.initial,
            reverse: spec.reverse,
            chunk,
            chunks,
            bound,
        };
        check_binding("the maps of the chunks", plan.scratch_maps(spec) * 2, DType::F32, caps)?;
        Ok(plan)
    }

    /// Affine maps kept between the phases, one for each chunk.
    pub fn scratch_maps(&self, spec: &LinearScanSpec) -> usize {
        if self.chunks == 1 { 0 } else { spec.rows() * self.chunks as usize }
    }

    fn workgroup_bytes(&self) -> u32 {
        // One map of two f32 for each lane, or for each subgroup of at least four lanes.
        match self.exchange {
            Exchange::Workgroup => self.lanes * 8,
            Exchange::Subgroup => self.lanes / LEAST_SUBGROUP * 8,
        }
    }
}

/// The smallest workgroup that takes a row in one tile, or the largest there is.
fn lanes(length: u32, caps: &Caps) -> (u32, Bound) {
    let largest = 256.min(caps.workgroup_lanes);
    let wanted = length.div_ceil(ITEMS).next_power_of_two().max(32);
    if wanted < largest {
        (wanted, Bound::Problem)
    } else if largest < 256 {
        (largest, Bound::Lanes(caps.workgroup_lanes))
    } else {
        (largest, Bound::Registers)
    }
}

/// Steps of a chunk and chunks of a row: one chunk where rows alone fill the GPU.
fn chunks(rows: u32, length: u32, tile: u32) -> (u32, u32) {
    let wanted = FULL.div_ceil(rows);
    let most = length.div_ceil(tile * LEAST_TILES);
    let chunk = length.div_ceil(wanted.min(most)).next_multiple_of(tile);
    (chunk, length.div_ceil(chunk))
}

impl Plan for LinearScanPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let workgroup_bytes = self.workgroup_bytes();
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes,
            storage_buffers,
        };
        let scan = kernel("scan/chunk_scan", 5);
        if self.chunks == 1 {
            return vec![scan];
        }
        vec![kernel("scan/chunk_reduce", 3), kernel("scan/carry", 4), scan]
    }
}

/// How to run the backward pass of a [`LinearScanSpec`]: the same scan the other way, over the factors of the steps
/// behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LinearScanBackwardPlan {
    /// The scan, in the direction in which it runs. It begins with 0; whether the forward pass did is another matter.
    pub scan: LinearScanPlan,
    /// Whether the forward pass began with a given state.
    pub initial: bool,
}

impl LinearScanBackwardPlan {
    /// Plans a backward pass. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &LinearScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        let scan = LinearScanSpec { initial: false, reverse: !spec.reverse, ..*spec };
        Ok(Self { scan: LinearScanPlan::new(&scan, caps)?, initial: spec.initial })
    }
}

impl Plan for LinearScanBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let mut footprints = self.scan.footprints();
        // The states, the initial ones and two gradients in the place of one output.
        footprints.iter_mut().filter(|f| f.kernel == "scan/chunk_scan").for_each(|f| f.storage_buffers += 3);
        footprints
    }
}

impl fmt::Display for LinearScanBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scan.fmt(f)
    }
}

impl fmt::Display for LinearScanPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chunks {
            1 => write!(f, "one pass, a workgroup a row")?,
            chunks => write!(f, "three phases, {chunks} chunks of {} steps a row", self.chunk)?,
        }
        let Self { lanes, items, exchange, storage, bound, .. } = self;
        write!(f, "; {lanes} lanes × {items} steps through {exchange}, {storage}; {bound}")
    }
}
