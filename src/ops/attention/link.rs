//! What the kernels of the attention family are linked with.

use crate::plan::{AttentionStructure, AttentionTile, CacheStructure, Exchange, MatrixTile};
use crate::shader::{Linker, Words};

/// A kernel that goes over tiles: the tile's own modules and constants.
pub(super) fn tiled(kernel: &'static str, tile: &AttentionTile) -> Linker {
    lanes(Linker::new(kernel), tile.exchange, tile.exchanges)
        .module("common/product")
        .module("attention/params")
        .module("attention/task")
        .module("attention/tile")
        .set("COLUMN_LANES", tile.column_lanes)
        .set("ROW_FOURS", tile.row_fours)
        .set("ROW_LANES", tile.row_lanes)
        .set("SLICE", tile.slice)
        .set("COLUMN_SLICE", tile.column_slice)
        .set("WIDEST", tile.widest)
}

/// A kernel that goes over tiles on matrix units, with the tensors whose rows are a tile's rows, and those of its columns.
pub(super) fn tiled_by_matrices(
    kernel: &'static str,
    tile: &MatrixTile,
    rows: &[Words],
    columns: &[Words],
) -> Linker {
    let side = tile.units.side;
    let linker = Linker::new(kernel)
        .module("common/lane_subgroup")
        .module("common/sync_subgroup")
        .module(if side == 16 { "common/matrix_16" } else { "common/matrix_8" })
        .module("attention/params")
        .module("attention/task")
        .module("attention/matrix_tile")
        .each("q", tile.key_columns / side)
        .each("o", tile.value_columns / side)
        .each("s", tile.columns / 4 / tile.row_lanes())
        .each("t", tile.staged_fours(tile.key_columns))
        .each("u", tile.staged_fours(tile.value_columns))
        .set("SUBGROUPS", tile.subgroups)
        .set("SUBGROUP_LANES", tile.units.subgroup_lanes)
        .set("SUBGROUP_ROWS", tile.subgroup_rows)
        .set("COLUMNS", tile.columns);
    let linker = rows.iter().fold(linker, |linker, words| linker.copy("attention/matrix_rows", words));
    columns.iter().fold(linker, |linker, words| linker.copy("attention/matrix_columns", words))
}

/// Tensors whose rows are the columns of a tile, in the words of the files that are copied for them.
pub(super) const K_COLUMNS: Words = &[("tensor", "k"), ("TENSOR", "K"), ("WIDTH", "HEAD_DIM")];
pub(super) const V_COLUMNS: Words = &[("tensor", "v"), ("TENSOR", "V"), ("WIDTH", "VALUE_DIM")];
pub(super) const Q_COLUMNS: Words = &[("tensor", "q"), ("TENSOR", "Q"), ("WIDTH", "HEAD_DIM")];
pub(super) const D_O_COLUMNS: Words = &[("tensor", "d_o"), ("TENSOR", "D_O"), ("WIDTH", "VALUE_DIM")];

/// How matrices load queries, keys and values.
pub(super) fn halves(linker: Linker) -> Linker {
    linker
        .copy("attention/load_row_halves", &[("tensor", "q"), ("WIDTH", "HEAD_DIM")])
        .copy("attention/load_key_halves", &[("tensor", "k"), ("WIDTH", "HEAD_DIM")])
        .copy("attention/load_key_halves", &[("tensor", "v"), ("WIDTH", "VALUE_DIM")])
}

/// How lanes know themselves, and how they reduce if they do.
pub(super) fn lanes(linker: Linker, exchange: Exchange, reduces: bool) -> Linker {
    let (lane, reduce) = match exchange {
        Exchange::Workgroup => ("common/lane_workgroup", "common/reduce_workgroup"),
        Exchange::Subgroup => ("common/lane_subgroup", "common/reduce_subgroup"),
    };
    let linker = linker.module(lane);
    if reduces { linker.module(reduce) } else { linker }
}

/// Where sequences lie.
pub(super) fn sequences(linker: Linker, structure: &AttentionStructure) -> Linker {
    match structure.cache {
        Some(_) => linker.module("attention/cache_index").module("attention/sequences_cached"),
        None if structure.packed => linker.module("attention/sequences_listed"),
        None => linker.module("attention/sequences_dense"),
    }
}

/// Where sequences lie, in a kernel that is linked with mods.
pub(super) fn modded_sequences(linker: Linker, structure: &AttentionStructure) -> Linker {
    if structure.sequences_among_mods() {
        return linker.module("attention/sequences_together");
    }
    sequences(linker, structure)
}

/// What the rows of a tile are, which keys queries see, and what becomes of their scores: all but what there is of each head,
/// and the mods.
pub(super) fn scored(linker: Linker, structure: &AttentionStructure, grouped: bool) -> Linker {
    let linker = match structure.cache {
        None => linker.module("attention/keys_contiguous"),
        Some(CacheStructure { paged: true, .. }) => {
            linker.module("attention/keys_cached").module("attention/cache_pages")
        }
        Some(_) => linker.module("attention/keys_cached").module("attention/cache_slots"),
    };
    positions(linker, structure)
        .module(if grouped { "attention/rows_grouped" } else { "attention/rows_plain" })
        .module("common/special")
        .module("attention/score")
        .module(if structure.dropout { "attention/dropout_philox" } else { "attention/dropout_none" })
        .set("SOFTCAP", structure.softcap)
}

/// Which keys queries see by their positions, and from where biases are counted.
pub(super) fn positions(linker: Linker, structure: &AttentionStructure) -> Linker {
    linker
        .module("attention/mask")
        .module("attention/origin")
        .set("FROM_FIRST", structure.alibi && !structure.mods.scores)
}

/// How tiles load the rows of queries, keys and values.
pub(super) fn loads(linker: Linker) -> Linker {
    const Q: Words = &[("tensor", "q"), ("WIDTH", "HEAD_DIM")];
    const K: Words = &[("tensor", "k"), ("WIDTH", "HEAD_DIM")];
    linker.copy("attention/load_rows", Q).copy("attention/load_keys", K)
}
