//! Which shader files no page can reach. The build script leaves them out of what a page downloads; a test of the linked
//! shaders holds the list against what plans lead to.

/// Files of subgroups and matrix units, which wgpu asks no browser for.
pub const NATIVE: [&str; 26] = [
    "attention/backward_keys_matrix",
    "attention/backward_queries_matrix",
    "attention/forward_direct",
    "attention/forward_matrix",
    "attention/growth_subgroup",
    "attention/growth_workgroup",
    "attention/load_key_halves",
    "attention/load_row_halves",
    "attention/matrix_columns",
    "attention/matrix_rows",
    "attention/matrix_sums",
    "attention/matrix_tame",
    "attention/matrix_tile",
    "attention/matrix_wild",
    "attention/softmax",
    "butterfly/diagonal_operands",
    "butterfly/outer_operands",
    "butterfly/sparse_operands",
    "common/lane_subgroup",
    "common/matrix_16",
    "common/matrix_8",
    "common/matrix_product",
    "common/reduce_subgroup",
    "common/sync_subgroup",
    "scan/lanes_rows",
    "scan/lanes_subgroup",
];
