// Where the rows of a block-sparse matrix lie, for kernels that take a whole row at a time: LANES / ROW_LANES rows of
// one row of blocks in a workgroup, ROW_LANES neighbouring lanes each.

const LANES: u32 = 64;
const REDUCE_LANES: u32 = 8; // of a row
const BLOCK: u32 = 32;

const ROWS: u32 = LANES / REDUCE_LANES;
const BLOCK_QUADS: u32 = BLOCK / 4u;
const GROUPS_DOWN: u32 = BLOCK / ROWS;

const_assert BLOCK % ROWS == 0u;

// Where each row of blocks begins, and where the last ends; then (row of blocks, column of blocks) of each block.
@group(0) @binding(0) var<storage, read> lists: array<u32>;

struct Row {
    first: u32, // the first quad of the lane, and past the last of the row, counted over its blocks
    end: u32,
    start: u32, // element of the first block that the row begins at
    list: u32,  // entry of the first block
    inside: bool, // whether the row is inside of the matrix
}

fn row_of(group: u32, rank: u32) -> Row {
    let block_row = group / GROUPS_DOWN;
    let row = group % GROUPS_DOWN * ROWS + rank / REDUCE_LANES;
    let first = lists[block_row];
    return Row(
        rank % REDUCE_LANES,
        (lists[block_row + 1u] - first) * BLOCK_QUADS,
        first * BLOCK * BLOCK + row * BLOCK,
        params.block_rows + 1u + 2u * first,
        block_row * BLOCK + row < params.height,
    );
}

fn element_of(row: Row, quad: u32) -> u32 {
    return row.start + quad / BLOCK_QUADS * BLOCK * BLOCK + quad % BLOCK_QUADS * 4u;
}

// Which elements of a quad are inside of the matrix.
fn inside_of(row: Row, quad: u32) -> vec4<bool> {
    let column = lists[row.list + quad / BLOCK_QUADS * 2u + 1u] * BLOCK + quad % BLOCK_QUADS * 4u;
    return vec4<bool>(row.inside) & (column + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.width));
}

fn largest(four: vec4<f32>) -> f32 {
    return max(max(four.x, four.y), max(four.z, four.w));
}
