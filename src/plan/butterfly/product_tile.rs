//! The tiles of block products, on lanes or on matrix units.

use std::fmt;

use super::block_tile::BlockTile;
use crate::Caps;
use crate::plan::{Bound, Footprint, MatrixProduct, Summed};
use crate::shader::Storage;

/// What a workgroup of a block product takes at a time, and what multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum ProductTile {
    /// Lanes, with f32 multiply-adds.
    Lanes(BlockTile),
    /// Matrix units.
    Matrices(MatrixProduct),
}

impl ProductTile {
    /// On matrix units if they take the product, or else on lanes; and what kept the tile from being larger.
    pub(super) fn either(
        matrices: Option<MatrixProduct>,
        lanes: impl FnOnce() -> (BlockTile, Bound),
    ) -> (Self, Bound) {
        if let Some(tile) = matrices {
            (Self::Matrices(tile), Bound::Registers)
        } else {
            let (tile, bound) = lanes();
            (Self::Lanes(tile), bound)
        }
    }

    /// For one block-diagonal factor of this shape (blocks, outputs, inputs), or its transpose if its blocks are `turned`,
    /// applied to that many rows, which hold block after block. `operands` says how rows and blocks are stored.
    pub(super) fn diagonal(
        rows: usize,
        [blocks, outputs, inputs]: [usize; 3],
        turned: bool,
        operands: [Storage; 2],
        caps: &Caps,
    ) -> (Self, Bound) {
        let (sizes, turned) = ([rows, outputs], [false, !turned]);
        let matrices = MatrixProduct::choose(blocks, sizes, Summed::Steps(inputs), turned, operands, caps);
        Self::either(matrices, || BlockTile::blocked([rows, blocks, outputs, inputs], true, caps))
    }

    /// Like [`diagonal`](Self::diagonal), for rows that interleave the blocks. On lanes, a tile has that many outputs at least.
    pub(super) fn interleaved(
        rows: usize,
        [blocks, outputs, inputs]: [usize; 3],
        turned: bool,
        operands: [Storage; 2],
        least_outputs: u32,
        caps: &Caps,
    ) -> (Self, Bound) {
        let sizes = [blocks, rows, outputs, inputs];
        let interleaved = [true, false, true];
        let matrices = MatrixProduct::interleaved(sizes, [false, !turned], interleaved, operands, caps);
        Self::either(matrices, || {
            BlockTile::interleaved([rows, blocks, outputs, inputs], least_outputs, caps)
        })
    }

    /// Whether it is of matrix units.
    pub(super) fn is_on_matrices(&self) -> bool {
        matches!(self, Self::Matrices(_))
    }

    /// Lines.
    pub fn lines(&self) -> u32 {
        match self {
            Self::Lanes(tile) => tile.lines,
            Self::Matrices(tile) => tile.lines(),
        }
    }

    /// Blocks.
    pub fn blocks(&self) -> u32 {
        match self {
            Self::Lanes(tile) => tile.blocks,
            Self::Matrices(tile) => tile.blocks,
        }
    }

    /// Outputs of a block.
    pub fn outputs(&self) -> u32 {
        match self {
            Self::Lanes(tile) => tile.outputs,
            Self::Matrices(tile) => tile.outputs(),
        }
    }

    /// Summed elements in one step.
    pub fn steps(&self) -> u32 {
        match self {
            Self::Lanes(tile) => tile.steps,
            Self::Matrices(tile) => tile.steps,
        }
    }

    /// Tiles of a product of this shape (lines, blocks, outputs).
    pub(crate) fn count(&self, [lines, blocks, outputs]: [usize; 3]) -> usize {
        let [tile_lines, tile_blocks, tile_outputs] =
            [self.lines(), self.blocks(), self.outputs()].map(|size| size as usize);
        lines.div_ceil(tile_lines) * blocks.div_ceil(tile_blocks) * outputs.div_ceil(tile_outputs)
    }

    /// Turns that the loops of a lane take over this many summed elements, at most.
    pub(super) fn turns(&self, summed: usize) -> u64 {
        match self {
            Self::Lanes(tile) => tile.turns(summed),
            Self::Matrices(tile) => tile.turns(summed),
        }
    }

    /// Of the kernel that multiplies with lanes, or of the one that does on matrix units.
    pub(super) fn footprint(&self, on_lanes: &'static str, storage_buffers: u32) -> Footprint {
        match self {
            Self::Lanes(tile) => tile.footprint(on_lanes, storage_buffers),
            Self::Matrices(tile) => tile.footprint(storage_buffers),
        }
    }
}

impl fmt::Display for ProductTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lanes(tile) => write!(f, "{tile}"),
            Self::Matrices(tile) => write!(f, "{tile}"),
        }
    }
}
