//! Plans of scans along rows: linear recurrences, running sums and maxima.

use std::fmt;

use crate::caps::Caps;
use crate::plan::{
    Bound, Exchange, Footprint, PART_ALIGNMENT, Plan, check_binding, check_caps, check_tensor,
};
use crate::shader::Storage;
use crate::spec::{RowScan, ScanOperator};
use crate::{AssociativeScanSpec, DType, LinearScanSpec, PlanError};

/// How to run a [`LinearScanSpec`] or an [`AssociativeScanSpec`]: the same kernels with another operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct RowScanPlan {
    /// What the scan combines.
    pub operator: ScanOperator,
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Lanes that take a row together: all of a workgroup's, or fewer where rows are so short that it takes several.
    pub row_lanes: u32,
    /// Consecutive steps that a lane takes at a time.
    pub items: u32,
    /// How lanes exchange what they scanned.
    pub exchange: Exchange,
    /// How tensors with a value for each step are stored.
    pub storage: Storage,
    /// Whether rows begin with a given state.
    pub initial: bool,
    /// Whether steps are taken from the last to the first.
    pub reverse: bool,
    /// Whether a step is given the state before it.
    pub exclusive: bool,
    /// Steps of a chunk: a workgroup takes one chunk at a time.
    pub chunk: u32,
    /// Chunks of a row. One: a single pass in which a workgroup owns a row. More: three phases.
    pub chunks: u32,
    /// Chunks that kernels take at a time, of whole rows or of one: all there are, unless their tensors exceed a binding.
    pub window: u32,
    /// What kept the workgroup from being larger.
    pub bound: Bound,
}

/// Numbers of a tensor that a lane takes at a time: two loads of four, few enough to stay in registers.
const NUMBERS: u32 = 8;

/// The kernel has room for the totals of subgroups of at least this many lanes.
const LEAST_SUBGROUP: u32 = 4;

/// Workgroups that fill a large GPU. WebGPU does not tell how many an adapter runs at once; the largest run about a
/// thousand, and a small one loses little to having too many.
const FULL: u32 = 1024;

/// Lanes of a workgroup that takes several short rows: a few subgroups of any size.
const SHORT: u32 = 64;

/// Chunks shorter than this many tiles cost more in carries than they gain.
const LEAST_TILES: u32 = 4;

impl RowScanPlan {
    /// Plans a linear recurrence. Fails if the spec is wrong or a tensor exceeds a buffer.
    pub fn linear(spec: &LinearScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::new(&spec.row_scan(), caps, "a")
    }

    /// Plans a running sum or maximum. Fails if the spec is wrong or a tensor exceeds a buffer.
    pub fn associative(spec: &AssociativeScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::new(&spec.row_scan(), caps, "x")
    }

    fn new(of: &RowScan, caps: &Caps, tensor: &'static str) -> Result<Self, PlanError> {
        check_caps("a scan", caps)?;
        let bytes = of.elements() as u64 * of.dtype.bytes() as u64;
        check_tensor(tensor, of.elements(), of.dtype, caps)?;
        let items = NUMBERS / of.operator.value_words() as u32;
        let (length, rows) = (of.length as u32, of.rows as u32);
        let (lanes, row_lanes, bound) = lanes(rows, length, items, caps);
        let tile = row_lanes * items;
        let (mut chunk, mut chunks) = chunks(rows, length, tile);
        let mut window = rows.saturating_mul(chunks);
        if bytes.next_multiple_of(16) > caps.binding_bytes {
            let most = RowWindow::most_values(of, tensor, tile, caps)?;
            chunk = chunk.min(most / tile * tile);
            chunks = length.div_ceil(chunk);
            window = if length <= most { most / length * chunks } else { most / chunk };
        }
        let least = if row_lanes < lanes { row_lanes } else { LEAST_SUBGROUP };
        let run = of.length * of.operator.value_words();
        let plan = Self {
            operator: of.operator,
            lanes,
            row_lanes,
            items,
            exchange: Exchange::choose(lanes, least, caps),
            storage: Storage::new(of.dtype, caps.f16, run.is_multiple_of(4)),
            initial: of.initial,
            reverse: of.reverse,
            exclusive: of.exclusive,
            chunk,
            chunks,
            window,
            bound,
        };
        let maps = plan.scratch_maps(of.rows) * of.operator.map_words();
        check_binding("the maps of the chunks", maps, DType::F32, caps)?;
        Ok(plan)
    }

    /// What kernels bind at a time, in the order of the chunks.
    pub(crate) fn windows(&self, of: &RowScan) -> Vec<RowWindow> {
        let all = of.rows as u32 * self.chunks;
        if self.window >= all {
            return vec![RowWindow { first: 0, end: all, origin: 0, part: None }];
        }
        if self.window >= self.chunks {
            let step = self.window / self.chunks * self.chunks;
            let firsts = (0..all).step_by(step as usize);
            return firsts.map(|first| RowWindow::new(self, of, first, all.min(first + step))).collect();
        }
        let of_row = |row: u32| {
            let (first, end) = (row * self.chunks, (row + 1) * self.chunks);
            let firsts = (first..end).step_by(self.window as usize);
            firsts.map(move |first| RowWindow::new(self, of, first, end.min(first + self.window)))
        };
        (0..of.rows as u32).flat_map(of_row).collect()
    }

    /// Maps kept between the phases, one for each chunk of these rows.
    pub(crate) fn scratch_maps(&self, rows: usize) -> usize {
        if self.chunks == 1 { 0 } else { rows * self.chunks as usize }
    }

    fn workgroup_bytes(&self) -> u32 {
        // One map for each lane, or for each subgroup of at least four lanes; none for rows within subgroups.
        let maps = match self.exchange {
            Exchange::Workgroup => self.lanes,
            Exchange::Subgroup if self.row_lanes < self.lanes => 0,
            Exchange::Subgroup => self.lanes / LEAST_SUBGROUP,
        };
        maps * 4 * self.operator.map_words() as u32
    }

    /// The kernels, of which the first and the last bind so many buffers of the steps, and the last these further ones.
    fn kernels(&self, steps: u32, stored: u32) -> Vec<Footprint> {
        let workgroup_bytes = self.workgroup_bytes();
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes,
            storage_buffers,
        };
        let scan = kernel("scan/chunk_scan", 2 + steps + stored);
        if self.chunks == 1 {
            return vec![scan];
        }
        vec![kernel("scan/chunk_reduce", 1 + steps), kernel("scan/carry", 4), scan]
    }
}

/// What kernels take and bind at a time of tensors that exceed a binding: some whole rows, or some chunks of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowWindow {
    /// The first chunk, counted through all rows.
    pub first: u32,
    /// The chunk before which it ends.
    pub end: u32,
    /// The value with which the bound part begins.
    pub origin: u32,
    /// Where the part begins in bytes, and how many these are, if it is not all.
    pub part: Option<[u64; 2]>,
}

impl RowWindow {
    /// Chunks of whole rows, or of one. A step reads its neighbours' values: there is one more on either side.
    fn new(plan: &RowScanPlan, of: &RowScan, first: u32, end: u32) -> Self {
        let (chunks, chunk, length) = (plan.chunks, plan.chunk as usize, of.length);
        let row = (first / chunks) as usize * length;
        let [start, stop] = if (end - first).is_multiple_of(chunks) {
            [row, (end / chunks) as usize * length]
        } else {
            let places = [first % chunks, (end - 1) % chunks + 1];
            let [from, to] = if of.reverse { [chunks - places[1], chunks - places[0]] } else { places };
            [row + from as usize * chunk, row + length.min(to as usize * chunk)]
        };
        let [start, stop] = [start.saturating_sub(1), (of.rows * length).min(stop + 1)].map(|at| at as u64);
        let value = value_bytes(of);
        let offset = start * value / PART_ALIGNMENT * PART_ALIGNMENT;
        let bytes = (stop * value).next_multiple_of(16) - offset;
        Self { first, end, origin: (offset / value) as u32, part: Some([offset, bytes]) }
    }

    /// The most values that a window has room for, without those around them. Fails if they are less than a tile.
    fn most_values(of: &RowScan, tensor: &'static str, tile: u32, caps: &Caps) -> Result<u32, PlanError> {
        let around = PART_ALIGNMENT + 2 * value_bytes(of) + 16;
        let most = caps.binding_bytes.saturating_sub(around) / value_bytes(of);
        if most < u64::from(tile) {
            let bytes = u64::from(tile) * value_bytes(of) + around;
            return Err(PlanError::Binding { tensor, bytes, limit: caps.binding_bytes });
        }
        Ok(u32::try_from(most).unwrap_or(u32::MAX))
    }
}

fn value_bytes(of: &RowScan) -> u64 {
    (of.operator.value_words() * of.dtype.bytes()) as u64
}

/// The smallest workgroup that takes a row in one tile, or the largest there is; and how many of its lanes take a row: short
/// rows share one of [`SHORT`] lanes.
fn lanes(rows: u32, length: u32, items: u32, caps: &Caps) -> (u32, u32, Bound) {
    let largest = 256.min(caps.workgroup_lanes);
    let wanted = length.div_ceil(items).next_power_of_two();
    if wanted < 32 && rows > 1 {
        (SHORT, wanted, Bound::Problem)
    } else if wanted < largest {
        (wanted.max(32), wanted.max(32), Bound::Problem)
    } else if largest < 256 {
        (largest, largest, Bound::Lanes(caps.workgroup_lanes))
    } else {
        (largest, largest, Bound::Registers)
    }
}

/// Steps of a chunk and chunks of a row: one chunk where rows alone fill the GPU.
fn chunks(rows: u32, length: u32, tile: u32) -> (u32, u32) {
    let wanted = FULL.div_ceil(rows);
    let most = length.div_ceil(tile * LEAST_TILES);
    let chunk = length.div_ceil(wanted.min(most)).next_multiple_of(tile);
    (chunk, length.div_ceil(chunk))
}

impl Plan for RowScanPlan {
    fn footprints(&self) -> Vec<Footprint> {
        match self.operator {
            ScanOperator::Affine | ScanOperator::AffineComplex => self.kernels(2, 1),
            ScanOperator::Sum | ScanOperator::Max => self.kernels(1, 1),
        }
    }
}

impl fmt::Display for RowScanPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chunks {
            1 if self.row_lanes < self.lanes => {
                write!(f, "one pass, {} rows a workgroup", self.lanes / self.row_lanes)?;
            }
            1 => write!(f, "one pass, a workgroup a row")?,
            chunks => write!(f, "three phases, {chunks} chunks of {} steps a row", self.chunk)?,
        }
        let Self { lanes, items, exchange, storage, bound, .. } = self;
        write!(f, "; {lanes} lanes × {items} steps through {exchange}, {storage}; {bound}")
    }
}

/// How to run the backward pass of a scan: a scan the other way. Over the factors of a linear recurrence; a sum is one
/// again; and that of a maximum takes the factors 1 and 0, as the maximum stays the same or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RowScanBackwardPlan {
    /// The scan, in the direction in which it runs. It begins with 0; whether the forward pass did is another matter.
    pub scan: RowScanPlan,
    /// What the forward pass combined.
    pub operator: ScanOperator,
    /// Whether the forward pass began with a given state.
    pub initial: bool,
}

impl RowScanBackwardPlan {
    /// Plans the backward pass of a linear recurrence. Fails if the spec is wrong or a tensor exceeds a buffer.
    pub fn linear(spec: &LinearScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::new(&spec.row_scan(), caps, "a")
    }

    /// Plans that of a running sum or maximum. Fails if the spec is wrong or a tensor exceeds a buffer.
    pub fn associative(spec: &AssociativeScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        Self::new(&spec.row_scan(), caps, "x")
    }

    fn new(of: &RowScan, caps: &Caps, tensor: &'static str) -> Result<Self, PlanError> {
        let scan = RowScanPlan::new(&of.backward(), caps, tensor)?;
        Ok(Self { scan, operator: of.operator, initial: of.initial })
    }
}

impl Plan for RowScanBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        match self.operator {
            // The states, the initial ones and two gradients.
            ScanOperator::Affine | ScanOperator::AffineComplex => self.scan.kernels(2, 4),
            ScanOperator::Sum => self.scan.footprints(),
            // The steps, the initial maxima and their gradient.
            ScanOperator::Max => self.scan.kernels(2, 3),
        }
    }
}

impl fmt::Display for RowScanBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scan.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows take each chunk once, bind what they take and its neighbours, and no more than an adapter lets them.
    #[test]
    fn windows_cover_the_rows_within_bindings() {
        let caps = |binding_bytes| Caps { binding_bytes, ..crate::caps::WEBGPU_BASELINE };
        for (rows, length) in [(1, 1 << 20), (3, 100_003), (700, 1501), (40_000, 33), (2000, 1501)] {
            for (bits, binding_bytes) in
                (0..8).zip([40_000, 300_000, 1 << 20, 40_000, 99_999].into_iter().cycle())
            {
                let on = |bit: usize| bits >> bit & 1 == 1;
                let dtype = if on(2) { DType::F16 } else { DType::F32 };
                let spec = LinearScanSpec::new(dtype, 1, rows, length);
                let spec = LinearScanSpec { complex: on(0), reverse: on(1), ..spec };
                let (of, caps) = (spec.row_scan(), caps(binding_bytes));
                let Ok(plan) = RowScanPlan::linear(&spec, &caps) else {
                    // The maps of very many rows.
                    assert!(rows * 16 > binding_bytes as usize / 2, "{spec}");
                    continue;
                };
                let windows = plan.windows(&of);
                assert!(windows.len() > 1 || (of.elements() * 4) as u64 <= binding_bytes, "{spec}: {plan}");
                let mut next = 0;
                for window in windows {
                    assert_eq!(window.first, next, "{spec}: {plan}");
                    next = window.end;
                    let Some([offset, bytes]) = window.part else { continue };
                    assert!(
                        offset.is_multiple_of(PART_ALIGNMENT) && bytes <= binding_bytes,
                        "{spec}: {window:?}"
                    );
                    for chunk in [window.first, window.end - 1] {
                        let place = chunk % plan.chunks;
                        let place = if spec.reverse { plan.chunks - 1 - place } else { place };
                        let row = (chunk / plan.chunks) as usize * length;
                        let start = row + (place * plan.chunk) as usize;
                        let end = (start + plan.chunk as usize).min(row + length) as u64 + 1;
                        let end = end.min((rows * length) as u64) * value_bytes(&of);
                        let start = start.saturating_sub(1) as u64 * value_bytes(&of);
                        assert!(
                            offset <= start && end <= offset + bytes,
                            "{spec}: {window:?}, chunk {chunk}"
                        );
                    }
                }
                assert_eq!(next, rows as u32 * plan.chunks);
            }
        }
    }
}
