//! Plans of sums over the rows of a batch: the gradients of weights.

use std::fmt;

use super::block_tile::BlockTile;
use super::product_tile::ProductTile;
use crate::caps::Caps;
use crate::plan::{Bound, Footprint, MatrixProduct, SliceSumPlan, Summed, check_binding, check_turns};
use crate::shader::Storage;
use crate::{DType, PlanError};

/// How to sum `outputs[n, a, c] = Σ left[row, a of a block] right[row, c of a block]` over the rows: `butterfly/block_outer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct OuterPlan {
    /// What a workgroup takes at a time.
    pub tile: ProductTile,
    /// Rows of a part: a workgroup runs over one.
    pub part_rows: u32,
    /// Parts of the batch, summed side by side.
    pub parts: u32,
    /// Whether the sums of the parts go to f32 scratch, from which a second kernel makes the result, in their order.
    pub scratch: bool,
    /// How the sums of a part are stored: as the result, or f32 scratch.
    pub part: Storage,
    /// How the result is stored.
    pub outputs: Storage,
}

/// Workgroups that occupy a large GPU. WebGPU does not tell how many an adapter runs at once.
const FULL: usize = 512;

/// Rows below which a part costs more in scratch than it gains.
const LEAST_ROWS: usize = 64;

/// How the rows that are summed over hold the elements of blocks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rows {
    /// One element of every block before the next.
    Interleaved {
        /// How both sides are stored.
        sides: [Storage; 2],
    },
    /// Block after block.
    Blocked {
        /// Whether the left and the right side are stored with the rows as their columns.
        turned: [bool; 2],
        /// How they are stored.
        sides: [Storage; 2],
    },
}

impl OuterPlan {
    /// For `shape` (blocks, a, c), over that many rows. `name` is the result's; it is finished from `scratch` always, or
    /// only where several parts are summed.
    pub(super) fn new(
        name: &'static str,
        dtype: DType,
        rows: usize,
        shape: [usize; 3],
        held: Rows,
        scratch: bool,
        caps: &Caps,
    ) -> Result<(Self, Bound), PlanError> {
        let [blocks, height, width] = shape;
        let sizes = [height, blocks, width, rows];
        let (tile, bound) = match held {
            Rows::Interleaved { sides } => {
                let shape = [blocks, height, width, rows];
                let matrices =
                    MatrixProduct::interleaved(shape, [true, false], [true, true, false], sides, caps);
                ProductTile::either(matrices, || BlockTile::interleaved(sizes, 1, caps))
            }
            Rows::Blocked { turned, sides } => {
                let products = blocks * rows.div_ceil(LEAST_ROWS);
                let (turned, summed) = ([!turned[0], turned[1]], Summed::Steps(rows));
                let matrices = MatrixProduct::choose(products, [height, width], summed, turned, sides, caps);
                ProductTile::either(matrices, || BlockTile::blocked(sizes, true, caps))
            }
        };
        let elements = shape.iter().product::<usize>();
        check_binding(name, elements, dtype, caps)?;
        let (part_rows, parts) = parts(rows, elements, shape, &tile, caps);
        let scratch = scratch || parts > 1;
        check_turns("a weight's gradient", tile.turns(part_rows), caps)?;
        // Quads run across the blocks where rows interleave them, and the blocks do not meet in the result.
        let across_blocks = matches!(held, Rows::Interleaved { .. }) && !tile.is_on_matrices();
        let by_fours = !across_blocks && width.is_multiple_of(4);
        let plan = Self {
            tile,
            part_rows: part_rows as u32,
            parts: parts as u32,
            scratch,
            part: Storage::new(if scratch { DType::F32 } else { dtype }, caps.f16, by_fours),
            outputs: Storage::new(dtype, caps.f16, elements.is_multiple_of(4)),
        };
        Ok((plan, bound))
    }

    /// Elements of the scratch for a result of that many.
    pub(crate) fn scratch_elements(&self, elements: usize) -> usize {
        if self.scratch { self.parts as usize * elements } else { 0 }
    }

    /// How the parts are summed. A part follows another at any multiple of their length.
    pub(crate) fn sum(&self) -> SliceSumPlan {
        SliceSumPlan::alone(Storage { vectors: self.outputs.vectors, ..self.part }, self.outputs)
    }

    /// How many kernels run.
    pub(crate) fn kernels(&self) -> usize {
        if self.scratch { 2 } else { 1 }
    }

    pub(super) fn footprints(&self, listed: bool) -> Vec<Footprint> {
        let mut footprints = vec![self.tile.footprint("butterfly/block_outer", if listed { 4 } else { 3 })];
        if self.scratch {
            footprints.push(SliceSumPlan::footprint());
        }
        footprints
    }
}

/// Rows of a part and the count of parts: as many parts as fill a GPU, of enough rows each, whose scratch can be bound,
/// and whose loops end where the driver counts them.
fn parts(
    rows: usize,
    elements: usize,
    [blocks, height, width]: [usize; 3],
    tile: &ProductTile,
    caps: &Caps,
) -> (usize, usize) {
    let tiles = tile.count([height, blocks, width]);
    let bindable = caps.binding_bytes.min(caps.buffer_bytes).min(i32::MAX as u64) as usize / 4 / elements;
    let mut parts = FULL.div_ceil(tiles).min(rows.div_ceil(LEAST_ROWS)).min(bindable).max(1);
    let part_rows = |parts: usize| rows.div_ceil(parts).next_multiple_of(tile.steps() as usize);
    if let Some(limit) = caps.loop_turns {
        while tile.turns(part_rows(parts)) > u64::from(limit) && 2 * parts <= bindable {
            parts *= 2;
        }
    }
    let part_rows = part_rows(parts);
    (part_rows, rows.div_ceil(part_rows))
}

impl fmt::Display for OuterPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.tile)?;
        match self.parts {
            1 => Ok(()),
            parts => write!(f, ", rows in {parts} parts of {}", self.part_rows),
        }
    }
}
