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
    /// Subgroups along the lines and the outputs of the tile.
    pub subgroups: [u32; 2],
    /// Matrices of a subgroup, likewise.
    pub matrices: [u32; 2],
    /// Summed elements staged at a time.
    pub steps: u32,
    /// Whether the left operand is stored (steps, lines), and the right one (outputs, steps).
    pub turned: [bool; 2],
    /// Whether the result is stored (outputs, lines).
    pub outputs_turned: bool,
}

/// Subgroups and matrices of each, from what reads least on. What a subgroup reads of workgroup memory is the bound: one that
/// owns 4 × 4 matrices reads each factor for four products. Fewer of them, with more subgroups, are for narrow blocks.
const TILES: [[[u32; 2]; 2]; 7] = [
    [[2, 2], [4, 4]],
    [[4, 2], [2, 2]],
    [[2, 2], [2, 2]],
    [[4, 1], [2, 2]],
    [[2, 1], [2, 2]],
    [[2, 1], [2, 1]],
    [[1, 1], [1, 1]],
];

/// Workgroups below which a smaller tile occupies an adapter better.
const FULL: usize = 32;

/// Elements with which a row in workgroup memory is padded.
const PADDING: u32 = 8;

impl MatrixProduct {
    /// The tile for `products` products of `lines` × `outputs` and sums of that many `steps`, which is a multiple of those of
    /// a stage wherever lists of blocks make up the sum. Lines and outputs of a product are filled up with zeros, the latter
    /// not if they are `whole`. None if the adapter has no matrix units for operands that are stored so, or if most of the
    /// smallest tile were idle.
    pub(crate) fn choose(
        products: usize,
        [lines, outputs, steps]: [usize; 3],
        whole: bool,
        turned: [bool; 2],
        operands: [Storage; 2],
        caps: &Caps,
    ) -> Option<Self> {
        let units = caps.matrix_units()?;
        // Other storages than f16 would lose range.
        if !operands.iter().all(|storage| storage.format == Format::F16 && storage.vectors) {
            return None;
        }
        let stage = if whole && !steps.is_multiple_of(2 * units.side as usize) { 1 } else { 2 };
        if whole && !steps.is_multiple_of(units.side as usize) {
            return None;
        }
        let tiles = TILES.map(|[subgroups, matrices]| Self {
            units,
            subgroups,
            matrices,
            steps: stage * units.side,
            turned,
            outputs_turned: false,
        });
        let last = tiles[TILES.len() - 1];
        tiles.into_iter().find(|tile| {
            let [down, across] = [tile.lines(), tile.outputs()].map(|size| size as usize);
            let groups = products * lines.div_ceil(down) * outputs.div_ceil(across);
            let filled = lines * 2 > down && outputs * 2 > across;
            let whole = !whole || outputs.is_multiple_of(across);
            filled && whole && tile.is_even() && tile.fits(caps) && (groups >= FULL || *tile == last)
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

    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        self.subgroups[0] * self.subgroups[1] * self.units.subgroup_lanes
    }

    /// Fours of an operand that a lane stages at a time.
    fn fours(&self, side: u32) -> u32 {
        side * self.steps / 4 / self.lanes()
    }

    /// Whether all lanes stage as many fours.
    fn is_even(&self) -> bool {
        [self.lines(), self.outputs()].iter().all(|side| (side * self.steps).is_multiple_of(4 * self.lanes()))
    }

    /// Both operands in f16, and a matrix of each subgroup in f32.
    pub(crate) fn workgroup_bytes(&self) -> u32 {
        let staged = |side: u32, by_steps: bool| {
            let (rows, row) = if by_steps { (side, self.steps) } else { (self.steps, side) };
            2 * rows * (row + PADDING)
        };
        let sums = 4 * self.subgroups[0] * self.subgroups[1] * self.units.side * self.units.side;
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
        write!(f, "{} lines × {} of {steps} steps in {bytes}, ", self.lines(), self.outputs())?;
        write!(
            f,
            "{} lanes, subgroups with {} × {} matrices of {side} × {side}",
            self.lanes(),
            matrices[0],
            matrices[1]
        )
    }
}
