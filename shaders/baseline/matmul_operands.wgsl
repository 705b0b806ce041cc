// The operands of a batched product C[b] = scale A[b] B[b]: where they lie, and what becomes of fours of C. The kernel defines
// TILE_LINES and TILE_OUTPUTS.

struct Params {
    groups: u32,   // products x tiles of a product
    m: u32,        // rows of A and C
    n: u32,        // columns of B and C
    k: u32,        // columns of A, rows of B
    tiles_m: u32,  // tiles along the rows of C
    tiles_n: u32,  // tiles along the columns of C
    inner: u32,    // products that share an outer index
    a_outer: u32,  // distances in elements: between outer indices,
    a_inner: u32,  // between inner indices,
    a_row: u32,    // between rows
    b_outer: u32,
    b_inner: u32,
    b_row: u32,    // between columns if RIGHT_TURNED
    b_share: u32,  // consecutive inner indices that read the same B
    c_outer: u32,
    c_inner: u32,
    c_row: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<a_word>; // (outer, inner, m, k)
@group(0) @binding(2) var<storage, read> b: array<b_word>; // (outer, inner / b_share, k, n) or (…, n, k)
@group(0) @binding(3) var<storage, read_write> c: array<c_word>; // (outer, inner, m, n)

// Where the tile of a workgroup lies.
struct Tile {
    a: u32, // the first element of each operand of this product
    b: u32,
    c: u32,
    m: u32, // the first row and column of the tile
    n: u32,
}

fn tile_of(group: u32) -> Tile {
    let product = group / (params.tiles_m * params.tiles_n);
    let outer = product / params.inner;
    let inner = product % params.inner;
    return Tile(
        outer * params.a_outer + inner * params.a_inner,
        outer * params.b_outer + (inner / params.b_share) * params.b_inner,
        outer * params.c_outer + inner * params.c_inner,
        ((group / params.tiles_n) % params.tiles_m) * TILE_LINES,
        (group % params.tiles_n) * TILE_OUTPUTS,
    );
}

fn steps_of(tile: Tile) -> u32 {
    return params.k;
}

fn store(tile: Tile, block: u32, line: u32, output: u32, four: vec4<f32>) {
    let row = tile.m + line;
    if (row < params.m) {
        let start = tile.c + row * params.c_row;
        c_store4(start + tile.n + output, start + params.n, params.scale * four);
    }
}
