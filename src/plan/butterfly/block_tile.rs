//! The tile that a workgroup of a block product takes at a time: what `butterfly/block_tile` is specialised to.

use std::fmt;

use crate::caps::{Bytes, Caps};
use crate::plan::{Bound, Footprint};

/// What a workgroup takes at a time of `product[line, output] = Σ left[line, step] right[output, step]`, for each of
/// several blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockTile {
    /// Whether rows interleave the blocks, so that quads of outputs run across them.
    pub interleaved: bool,
    /// Lines: rows of the batch, or of a weight's gradient.
    pub lines: u32,
    /// Blocks.
    pub blocks: u32,
    /// Outputs of a block.
    pub outputs: u32,
    /// Summed elements in one step.
    pub steps: u32,
    /// Lines of a lane, each of which uses a factor that the lane loaded.
    pub lane_lines: u32,
    /// Quads of outputs of a lane, for each of its lines.
    pub lane_quads: u32,
}

/// Elements of a step beyond which barriers are rare enough.
const MOST_STEPS: u32 = 16;

/// Workgroup memory beyond which too few workgroups share a compute unit to hide each other's barriers.
const MOST_TILE_BYTES: u32 = 16 << 10;

/// Lanes that a workgroup should have, so that no subgroup of any size is mostly idle.
pub(super) const ENOUGH_LANES: u32 = 64;

/// Lanes that wgpu lets every adapter have.
const MOST_LANES: u32 = 256;

/// The least power of two that is no less; sizes are below 2^31.
pub(super) fn power_of_two(size: usize) -> u32 {
    (size as u32).next_power_of_two()
}

impl BlockTile {
    /// For rows that hold block after block: quads run along the outputs of a block. Of `lines` lines, `blocks` blocks,
    /// `outputs` outputs of a block and `steps` summed elements; small blocks share a tile if `together`.
    pub(super) fn blocked(
        [lines, blocks, outputs, steps]: [usize; 4],
        together: bool,
        caps: &Caps,
    ) -> (Self, Bound) {
        let side = |size: usize| power_of_two(size).clamp(4, 64);
        let (lines, outputs) = (side(lines), side(outputs));
        // A lane each for 64 lanes of 4 × 4 sums: more would leave a small batch too few workgroups.
        let room = (64 / outputs).max(1024 / (lines * outputs));
        let blocks = if together { power_of_two(blocks).min(room) } else { 1 };
        let tile =
            Self { interleaved: false, lines, blocks, outputs, steps: 4, lane_lines: 8, lane_quads: 2 };
        tile.share().fit(steps, caps)
    }

    /// For rows that interleave the blocks: quads run across them, eight of which fill a sector of memory.
    pub(super) fn interleaved(
        [lines, blocks, outputs, steps]: [usize; 4],
        least_outputs: u32,
        caps: &Caps,
    ) -> (Self, Bound) {
        let blocks = power_of_two(blocks).clamp(4, 8);
        let outputs = power_of_two(outputs).clamp(least_outputs, 32);
        let lines = power_of_two(lines).clamp(4, 32);
        let tile = Self { interleaved: true, lines, blocks, outputs, steps: 4, lane_lines: 4, lane_quads: 4 };
        tile.share().fit(steps, caps)
    }

    /// Gives a lane less where the tile has too few sums for all: as many lines as quads are what reuses most.
    fn share(mut self) -> Self {
        let quads = if self.interleaved { self.outputs } else { self.outputs / 4 };
        self.lane_lines = self.lane_lines.min(self.lines);
        self.lane_quads = self.lane_quads.min(quads);
        while self.lanes() < ENOUGH_LANES {
            if self.lane_quads > 1 {
                self.lane_quads /= 2;
            } else if self.lane_lines > 4 {
                self.lane_lines /= 2;
            } else {
                break;
            }
        }
        self
    }

    /// Cuts the tile down to the adapter, then lengthens its steps.
    fn fit(mut self, steps: usize, caps: &Caps) -> (Self, Bound) {
        let full = self.lines * self.blocks * self.outputs >= 4096;
        let mut bound = if full { Bound::Registers } else { Bound::Problem };
        while !self.fits(caps) {
            bound = self.excess(caps);
            let least_blocks = if self.interleaved { 4 } else { 1 };
            if self.lines > 4 {
                self.lines /= 2;
            } else if self.blocks > least_blocks {
                self.blocks /= 2;
            } else {
                // A tile of 4 lines × 64 outputs takes 1.1 KiB and 16 lanes: less than any adapter has.
                self.outputs /= 2;
            }
            self = self.share();
        }
        let most = power_of_two(steps).clamp(4, MOST_STEPS);
        while self.steps < most {
            let longer = Self { steps: self.steps * 2, ..self };
            if !longer.fits(caps) {
                return (self, longer.excess(caps));
            }
            if longer.workgroup_bytes() > MOST_TILE_BYTES {
                break;
            }
            self = longer;
        }
        (self, bound)
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.lines / self.lane_lines * self.quads() / self.lane_quads
    }

    /// Quads of outputs in a line of the tile.
    fn quads(&self) -> u32 {
        self.blocks * self.outputs / 4
    }

    /// Both tiles in f32.
    fn workgroup_bytes(&self) -> u32 {
        4 * self.steps * self.blocks * (self.outputs + self.lines)
    }

    /// Turns that the loops of a lane take over this many summed elements, at most: where staging turns nothing, it
    /// takes a turn for each vector of the tiles.
    pub(super) fn turns(&self, summed: usize) -> u64 {
        let vectors = |line: u32| (self.steps * self.blocks * line / 4).div_ceil(self.lanes());
        let staged = vectors(self.lines) + vectors(self.outputs);
        summed.div_ceil(self.steps as usize) as u64 * u64::from(1 + staged + self.steps)
    }

    fn fits(&self, caps: &Caps) -> bool {
        self.lanes() <= caps.workgroup_lanes.min(MOST_LANES) && self.workgroup_bytes() <= caps.workgroup_bytes
    }

    fn excess(&self, caps: &Caps) -> Bound {
        if self.lanes() > caps.workgroup_lanes.min(MOST_LANES) {
            Bound::Lanes(caps.workgroup_lanes)
        } else {
            Bound::WorkgroupMemory(caps.workgroup_bytes)
        }
    }

    pub(super) fn footprint(&self, kernel: &'static str, storage_buffers: u32) -> Footprint {
        Footprint { kernel, lanes: self.lanes(), workgroup_bytes: self.workgroup_bytes(), storage_buffers }
    }
}

impl fmt::Display for BlockTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, blocks, outputs, steps, lane_lines, lane_quads, .. } = self;
        let bytes = Bytes(u64::from(self.workgroup_bytes()));
        let lanes = self.lanes();
        write!(f, "{lines} lines × {blocks} blocks × {outputs} of {steps} steps in {bytes}, ")?;
        write!(f, "{lanes} lanes of {lane_lines} lines × {lane_quads} quads")
    }
}
