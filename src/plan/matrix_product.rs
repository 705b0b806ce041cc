//! The tiles of products on matrix units.

use std::fmt;

use crate::caps::{Bytes, Caps, MatrixUnits};
use crate::plan::Footprint;
use crate::shader::{Format, Storage};

/// What a workgroup takes at a time of `product[line, output] = Σ left[line, step] right[step, output]`, with f16 factors and
/// f32 sums on matrix units: what `common/matrix_product` is specialised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MatrixProduct {
    /// The matrices.
    pub units: MatrixUnits,
    /// Blocks of the tile, each with as many subgroups: more than one only where rows interleave them.
    pub blocks: u32,
    /// Subgroups of a block along the lines and the outputs of the tile.
    pub subgroups: [u32; 2],
    /// Matrices of a subgroup, likewise.
    pub matrices: [u32; 2],
    /// Summed elements staged at a time.
    pub steps: u32,
    /// Whether the left operand is stored (steps, lines), and the right one (outputs, steps).
    pub turned: [bool; 2],
    /// Whether the last stage is not full, so that what is past an end must be zeros.
    pub ragged: bool,
    /// Whether the result is stored (outputs, lines).
    pub outputs_turned: bool,
    /// Whether the left operand, the right one and the result have rows that interleave the blocks.
    pub interleaved: [bool; 3],
}

/// Subgroups and matrices of each where rows interleave blocks, from what reads least on.
const INTERLEAVED_TILES: [[u32; 2]; 4] = [[4, 4], [2, 4], [2, 2], [1, 1]];

/// Blocks side by side where rows interleave them: half a sector of memory of each.
const INTERLEAVED_BLOCKS: u32 = 8;

/// Subgroups and matrices of each, from what reads least on. What a subgroup reads of workgroup memory is the bound: one that
/// owns 4 × 4 matrices reads each factor for four products. Fewer of them, with more subgroups, are for narrow blocks.
const TILES: [[[u32; 2]; 2]; 6] = [
    [[2, 2], [4, 4]],
    [[4, 2], [2, 2]],
    [[2, 2], [2, 2]],
    [[2, 1], [2, 2]],
    [[2, 1], [2, 1]],
    [[1, 1], [1, 1]],
];

/// Workgroups below which a smaller tile occupies an adapter better.
const FULL: usize = 32;

/// Elements with which a row in workgroup memory is padded.
const PADDING: u32 = 8;

/// What a product sums over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Summed {
    /// So many elements.
    Steps(usize),
    /// Listed blocks, whose outputs are those of a tile or several: no stage and no tile lies in two of them.
    Blocks {
        /// Elements of a block, along steps and outputs.
        side: usize,
        /// Whether blocks overhang the operands.
        overhang: bool,
    },
}

impl Summed {
    /// Stages of so many matrices that fit.
    fn matrices(self, side: usize) -> Option<u32> {
        match self {
            Self::Blocks { side: block, .. } if !block.is_multiple_of(side) => None,
            Self::Blocks { side: block, .. } if !block.is_multiple_of(2 * side) => Some(1),
            _ => Some(2),
        }
    }

    fn is_ragged(self, stage: u32) -> bool {
        match self {
            Self::Steps(steps) => !steps.is_multiple_of(stage as usize),
            Self::Blocks { overhang, .. } => overhang,
        }
    }

    /// Whether tiles may have so many outputs.
    fn takes(self, outputs: u32) -> bool {
        match self {
            Self::Steps(_) => true,
            Self::Blocks { side, .. } => side.is_multiple_of(outputs as usize),
        }
    }
}

/// The matrix units for operands that are stored so: other storages than f16 would lose range.
fn units_for(operands: [Storage; 2], caps: &Caps) -> Option<MatrixUnits> {
    let taken = |storage: &Storage| storage.format == Format::F16 && storage.vectors;
    caps.matrix_units().filter(|_| operands.iter().all(taken))
}

impl MatrixProduct {
    /// The tile for `products` products of `lines` × `outputs`, which may end within a tile. None if the adapter has no matrix
    /// units for operands that are stored so, or if most of the smallest tile were idle.
    pub(crate) fn choose(
        products: usize,
        [lines, outputs]: [usize; 2],
        summed: Summed,
        turned: [bool; 2],
        operands: [Storage; 2],
        caps: &Caps,
    ) -> Option<Self> {
        let units = units_for(operands, caps)?;
        let steps = summed.matrices(units.side as usize)? * units.side;
        let tiles = TILES.map(|[subgroups, matrices]| Self {
            units,
            blocks: 1,
            subgroups,
            matrices,
            steps,
            turned,
            ragged: summed.is_ragged(steps),
            outputs_turned: false,
            interleaved: [false; 3],
        });
        let last = tiles[TILES.len() - 1];
        tiles.into_iter().find(|tile| {
            let [down, across] = [tile.lines(), tile.outputs()].map(|size| size as usize);
            let groups = products * lines.div_ceil(down) * outputs.div_ceil(across);
            let filled = lines * 2 > down && outputs * 2 > across;
            filled
                && summed.takes(tile.outputs())
                && tile.is_even()
                && tile.fits(caps)
                && (groups >= FULL || *tile == last)
        })
    }

    /// The tile for one product of `lines` × `outputs` of each of `blocks` blocks, of which rows of `interleaved` operands and
    /// results hold one element each before the next. None under the same conditions.
    pub(crate) fn interleaved(
        [blocks, lines, outputs, steps]: [usize; 4],
        turned: [bool; 2],
        interleaved: [bool; 3],
        operands: [Storage; 2],
        caps: &Caps,
    ) -> Option<Self> {
        let units = units_for(operands, caps)?;
        let tiles = INTERLEAVED_TILES.map(|matrices| Self {
            units,
            blocks: INTERLEAVED_BLOCKS,
            subgroups: [1, 1],
            matrices,
            steps: units.side,
            turned,
            ragged: Summed::Steps(steps).is_ragged(units.side),
            outputs_turned: false,
            interleaved,
        });
        tiles.into_iter().find(|tile| {
            let filled = [(blocks, tile.blocks), (lines, tile.lines()), (outputs, tile.outputs())];
            filled.iter().all(|&(size, tile)| size * 2 > tile as usize) && tile.is_even() && tile.fits(caps)
        })
    }

    /// Lines of the tile.
    pub fn lines(&self) -> u32 {
        self.subgroups[0] * self.matrices[0] * self.units.side
    }

    /// Outputs of the tile.
    pub fn outputs(&self) -> u32 {
        self.subgroups[1] * self.matrices[1] * self.units.side
    }

    fn all_subgroups(&self) -> u32 {
        self.blocks * self.subgroups[0] * self.subgroups[1]
    }

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.all_subgroups() * self.units.subgroup_lanes
    }

    /// Fours of an operand that a lane stages at a time.
    fn fours(&self, side: u32) -> u32 {
        self.blocks * side * self.steps / 4 / self.lanes()
    }

    /// Whether all lanes stage as many fours.
    fn is_even(&self) -> bool {
        let [left, right, _] = self.interleaved;
        [(self.lines(), left), (self.outputs(), right)].iter().all(|&(side, interleaved)| {
            // A lane stages a four, or four of them.
            let least = if interleaved { 16 } else { 4 };
            (self.blocks * side * self.steps).is_multiple_of(least * self.lanes())
        })
    }

    /// Both operands in f16, and a matrix of each subgroup in f32.
    pub(crate) fn workgroup_bytes(&self) -> u32 {
        let staged = |side: u32, by_steps: bool| {
            let (rows, row) = if by_steps { (side, self.steps) } else { (self.steps, side) };
            2 * self.blocks * rows * (row + PADDING)
        };
        let sums = 4 * self.all_subgroups() * self.units.side * self.units.side;
        staged(self.lines(), !self.turned[0]) + staged(self.outputs(), self.turned[1]) + sums
    }

    fn fits(&self, caps: &Caps) -> bool {
        self.footprint(0).fits(caps)
    }

    pub(crate) fn footprint(&self, storage_buffers: u32) -> Footprint {
        Footprint {
            kernel: "common/matrix_product",
            lanes: self.lanes(),
            workgroup_bytes: self.workgroup_bytes(),
            storage_buffers,
        }
    }

    /// Turns that the loops of a lane take over this many summed elements, and for the results.
    pub(crate) fn turns(&self, summed: usize) -> u64 {
        let staged = self.fours(self.lines()) + self.fours(self.outputs());
        let [side, lanes] = [self.units.side, self.units.subgroup_lanes];
        let stored = self.matrices[0] * self.matrices[1] * (side * side / 4).div_ceil(lanes);
        summed.div_ceil(self.steps as usize) as u64 * u64::from(1 + staged) + u64::from(stored)
    }
}

impl fmt::Display for MatrixProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { units, matrices, steps, .. } = self;
        let (bytes, side) = (Bytes(u64::from(self.workgroup_bytes())), units.side);
        write!(f, "{} lines × ", self.lines())?;
        if self.blocks > 1 {
            write!(f, "{} blocks × ", self.blocks)?;
        }
        write!(f, "{} of {steps} steps in {bytes}, ", self.outputs())?;
        write!(
            f,
            "{} lanes, subgroups with {} × {} matrices of {side} × {side}",
            self.lanes(),
            matrices[0],
            matrices[1]
        )
    }
}
