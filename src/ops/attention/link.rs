//! What the kernels of the attention family are linked with.

use super::AttentionInputs;
use crate::Tensor;
use crate::plan::{AttentionStructure, AttentionTile, Exchange};
use crate::shader::Linker;

/// A kernel that goes over tiles: the tile's own modules and constants.
pub(super) fn tiled(kernel: &'static str, tile: &AttentionTile) -> Linker {
    let linker = Linker::new(kernel)
        .module("common/product")
        .module("attention/params")
        .module("attention/task")
        .module("attention/tile");
    let linker = match tile.exchange {
        Exchange::Workgroup => linker.module("common/lane_workgroup"),
        Exchange::Subgroup => linker.module("common/lane_subgroup"),
    };
    let linker = match tile.exchange {
        _ if !tile.exchanges => linker,
        Exchange::Workgroup => linker.module("common/reduce_workgroup"),
        Exchange::Subgroup => linker.module("common/reduce_subgroup"),
    };
    linker
        .set("ROW_LANES", tile.row_lanes)
        .set("COLUMN_LANES", tile.column_lanes)
        .set("ROW_FOURS", tile.row_fours)
        .set("SLICE", tile.slice)
        .set("COLUMN_SLICE", tile.column_slice)
        .set("WIDEST", tile.widest)
}

/// How sequences lie, which keys queries see, and what becomes of their scores.
///
/// Modules that bind a tensor are linked in the order of [`bound`].
pub(super) fn structured(linker: Linker, structure: &AttentionStructure) -> Linker {
    let linker = linker
        .module("attention/sequences_dense")
        .module("attention/keys_contiguous")
        .module("attention/mask")
        .module("attention/score")
        .module("attention/dropout_none")
        .module("attention/sinks_none")
        .module(if structure.alibi { "attention/alibi_slopes" } else { "attention/alibi_none" });
    linker
        .set("HEAD_DIM", structure.head_dim)
        .set("VALUE_DIM", structure.value_dim)
        .set("SOFTCAP", structure.softcap)
}

/// The tensors that the options bind, after those of the kernel.
pub(super) fn bound<'a, T: crate::Element>(inputs: &AttentionInputs<'a, T>) -> Vec<&'a wgpu::Buffer> {
    inputs.alibi.into_iter().map(Tensor::buffer).collect()
}
