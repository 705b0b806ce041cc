// The operands of common/matrix_product for products over the rows of a batch, block by block: outputs[n, a, c] = sum over
// rows of left[row, a of a block] right[row, c of a block], where the pair of blocks that belongs to n is the module's. A
// tile is of a x c of one block, and of a part of the rows. Operands are turned as they are stored: left (rows, left_width)
// unless it is not turned, right (rows, right_width) unless it is.

struct Params {
    groups: u32, // parts x tiles of blocks x a x c, the last running fastest
    rows: u32,
    part_rows: u32, // rows of a part
    blocks: u32,
    height: u32, // a of a block
    width: u32,  // c of a block
    left_width: u32, // elements of a row; blocks may overhang it
    right_width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<left_word>; // (rows, left_width), or turned
@group(0) @binding(2) var<storage, read> right: array<right_word>; // (rows, right_width), or turned
@group(0) @binding(3) var<storage, read_write> outputs: array<outputs_word>; // (parts, blocks, height, width)

struct Tile {
    row: u32, // the first of the part
    end: u32, // and behind its last
    left: u32, // the first element of each side
    right: u32,
    left_end: u32, // and behind its last
    right_end: u32,
    outputs: u32, // where the result of the part's block begins
    line: u32,
    output: u32,
}

fn tile_of(group: u32) -> Tile {
    let across = (params.width + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
    let down = (params.height + TILE_LINES - 1u) / TILE_LINES;
    let n = group / across / down % params.blocks;
    let part = group / across / down / params.blocks;
    let line = group / across % down * TILE_LINES;
    let output = group % across * TILE_OUTPUTS;
    let blocks = pair(n);
    let row = part * params.part_rows;
    return Tile(
        row,
        min(row + params.part_rows, params.rows),
        blocks.x * params.height + line,
        blocks.y * params.width + output,
        min((blocks.x + 1u) * params.height, params.left_width),
        min((blocks.y + 1u) * params.width, params.right_width),
        (part * params.blocks + n) * params.height * params.width,
        line,
        output,
    );
}

fn steps_of(tile: Tile) -> u32 {
    return tile.end - tile.row;
}

alias Source = u32; // the first row of a stage

fn source_of(tile: Tile, step: u32) -> Source {
    return tile.row + step;
}

fn left_four(tile: Tile, source: Source, block: u32, line: u32, step: u32) -> vec4<f16> {
    let row = source + step;
    let a = tile.left + line;
    if (LEFT_TURNED) {
        let start = row * params.left_width;
        return left_staged(start + a, end_if(row < tile.end, start + tile.left_end));
    }
    let start = a * params.rows;
    return left_staged(start + row, end_if(a < tile.left_end, start + tile.end));
}

fn right_four(tile: Tile, source: Source, block: u32, output: u32, step: u32) -> vec4<f16> {
    let row = source + step;
    let c = tile.right + output;
    if (RIGHT_TURNED) {
        let start = c * params.rows;
        return right_staged(start + row, end_if(c < tile.right_end, start + tile.end));
    }
    let start = row * params.right_width;
    return right_staged(start + c, end_if(row < tile.end, start + tile.right_end));
}

fn store(tile: Tile, block: u32, line: u32, output: u32, four: vec4<f32>) {
    let start = tile.outputs + (tile.line + line) * params.width;
    let inside = tile.line + line < params.height;
    outputs_store4(start + tile.output + output, end_if(inside, start + params.width), four);
}
