// Fours of the operands of baseline/matmul_operands for common/matrix_product. Both are stored in f16.

alias Source = u32; // the first step of a stage

fn source_of(tile: Tile, step: u32) -> Source {
    return step;
}

fn left_four(tile: Tile, source: Source, block: u32, line: u32, step: u32) -> vec4<f16> {
    let row = tile.m + line;
    let start = tile.a + row * params.a_row;
    return a_staged(start + source + step, select(0u, start + params.k, row < params.m));
}

fn right_four(tile: Tile, source: Source, block: u32, output: u32, step: u32) -> vec4<f16> {
    let k = source + step;
    let n = tile.n + output;
    let start = tile.b + select(k, n, RIGHT_TURNED) * params.b_row;
    let end = start + select(params.n, params.k, RIGHT_TURNED);
    let inside = select(k < params.k, n < params.n, RIGHT_TURNED);
    return b_staged(start + select(n, k, RIGHT_TURNED), select(0u, end, inside));
}
