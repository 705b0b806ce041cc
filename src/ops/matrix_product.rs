//! Products on matrix units: `common/matrix_product`.

use crate::plan::MatrixProduct;
use crate::shader::{Linker, Words};

/// The file of the kernel.
pub(crate) const KERNEL: &str = "common/matrix_product";

/// The kernel with the tile's constants, for operands of these names, of which a module is to be added.
pub(crate) fn tiled(linker: Linker, tile: &MatrixProduct, operands: [Words; 2]) -> Linker {
    let [m, n] = tile.matrices;
    let [left, right, outputs] = tile.interleaved;
    let stage = |interleaved| if interleaved { "butterfly/stage_interleaved" } else { "common/stage_fours" };
    let staged = if tile.ragged { "common/staged_ragged" } else { "common/staged_whole" };
    operands
        .into_iter()
        .fold(linker, |linker, operand| linker.copy(staged, operand))
        .copy(stage(left), &[("tensor", "left"), ("TENSOR", "LEFT")])
        .copy(stage(right), &[("tensor", "right"), ("TENSOR", "RIGHT")])
        .module(if outputs { "butterfly/store_interleaved" } else { "common/store_fours" })
        .set("BLOCKS", tile.blocks)
        .module(if tile.units.side == 16 { "common/matrix_16" } else { "common/matrix_8" })
        .module("common/lane_subgroup")
        .set("SUBGROUPS_M", tile.subgroups[0])
        .set("SUBGROUPS_N", tile.subgroups[1])
        .set("SUBGROUP_LANES", tile.units.subgroup_lanes)
        .set("MATRICES_M", m)
        .set("MATRICES_N", n)
        .set("TILE_STEPS", tile.steps)
        .set("LEFT_TURNED", tile.turned[0])
        .set("RIGHT_TURNED", tile.turned[1])
        .set("OUTPUTS_TURNED", tile.outputs_turned)
        .each("m", m)
        .each("n", n)
        .each("k", tile.steps / tile.units.side)
}
