//! Products on matrix units: `common/matrix_product`.

use crate::plan::MatrixProduct;
use crate::shader::Linker;

/// The file of the kernel.
pub(crate) const KERNEL: &str = "common/matrix_product";

/// The kernel with the tile's constants, to which a module of the operands is to be added.
pub(crate) fn tiled(linker: Linker, tile: &MatrixProduct) -> Linker {
    let [m, n] = tile.matrices;
    linker
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
