// The operands of common/matrix_product for products over the rows of a batch whose rows interleave the blocks: outputs[b, a,
// c] = sum over rows of left[row, a blocks + b] right[row, c blocks + b]. A tile is of neighbouring blocks x a x c, and of a
// part of the rows. Left is turned, right is not.

struct Params {
    groups: u32, // parts x tiles of blocks x a x c, the last running fastest
    rows: u32,
    part_rows: u32, // rows of a part
    blocks: u32,
    height: u32, // a of a block
    width: u32,  // c of a block
    left_width: u32, // elements of a row, which are those of its blocks
    right_width: u32,
}

const_assert LEFT_TURNED && !RIGHT_TURNED;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<left_word>; // (rows, height, blocks)
@group(0) @binding(2) var<storage, read> right: array<right_word>; // (rows, width, blocks)
@group(0) @binding(3) var<storage, read_write> outputs: array<outputs_word>; // (parts, blocks, height, width)

struct Tile {
    row: u32, // the first of the part
    end: u32, // and behind its last
    part: u32,
    block: u32,
    line: u32,
    output: u32,
}

fn tile_of(group: u32) -> Tile {
    let across = (params.width + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
    let down = (params.height + TILE_LINES - 1u) / TILE_LINES;
    let along = (params.blocks + BLOCKS - 1u) / BLOCKS;
    let part = group / across / down / along;
    let row = part * params.part_rows;
    return Tile(
        row,
        min(row + params.part_rows, params.rows),
        part,
        group / across / down % along * BLOCKS,
        group / across % down * TILE_LINES,
        group % across * TILE_OUTPUTS,
    );
}

fn steps_of(tile: Tile) -> u32 {
    return tile.end - tile.row;
}

alias Source = u32; // the first row of a stage

fn source_of(tile: Tile, step: u32) -> Source {
    return tile.row + step;
}

fn left_across(tile: Tile, source: Source, block: u32, line: u32, step: u32) -> vec4<f16> {
    let row = source + step;
    let a = tile.line + line;
    let start = row * params.left_width + interleaved(0u, params.blocks, a);
    let inside = row < tile.end && a < params.height;
    return left_staged(start + tile.block + block, end_if(inside, start + params.blocks));
}

fn right_across(tile: Tile, source: Source, block: u32, output: u32, step: u32) -> vec4<f16> {
    let row = source + step;
    let c = tile.output + output;
    let start = row * params.right_width + interleaved(0u, params.blocks, c);
    let inside = row < tile.end && c < params.width;
    return right_staged(start + tile.block + block, end_if(inside, start + params.blocks));
}

fn store(tile: Tile, block: u32, line: u32, output: u32, four: vec4<f32>) {
    let b = tile.block + block;
    let a = tile.line + line;
    let start = ((tile.part * params.blocks + b) * params.height + a) * params.width;
    let inside = b < params.blocks && a < params.height;
    outputs_store4(start + tile.output + output, end_if(inside, start + params.width), four);
}
