// The operands of common/matrix_product for one block-diagonal factor whose rows interleave the blocks: outputs[row, j blocks
// + b] = sum over i of w[b, j, i] inputs[row, i blocks + b]. A tile is of rows x neighbouring blocks x outputs of each.

struct Params {
    groups: u32, // tiles of rows x blocks x outputs, the last running fastest
    rows: u32,
    blocks: u32,
    height: u32, // outputs of a block
    width: u32,  // inputs of a block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<inputs_word>; // (rows, width, blocks)
@group(0) @binding(2) var<storage, read> w: array<w_word>; // (blocks, height, width) if RIGHT_TURNED, or (blocks, width, height)
@group(0) @binding(3) var<storage, read_write> outputs: array<outputs_word>; // (rows, height, blocks)

struct Tile {
    row: u32,
    block: u32,
    output: u32,
}

fn tile_of(group: u32) -> Tile {
    let across = (params.height + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
    let along = (params.blocks + BLOCKS - 1u) / BLOCKS;
    return Tile(
        group / across / along * TILE_LINES,
        group / across % along * BLOCKS,
        group % across * TILE_OUTPUTS,
    );
}

fn steps_of(tile: Tile) -> u32 {
    return params.width;
}

alias Source = u32; // the first input of a stage

fn source_of(tile: Tile, step: u32) -> Source {
    return step;
}

fn left_across(tile: Tile, source: Source, block: u32, line: u32, step: u32) -> vec4<f16> {
    let row = tile.row + line;
    let i = source + step;
    let start = row * params.width * params.blocks + interleaved(0u, params.blocks, i);
    let inside = row < params.rows && i < params.width;
    return inputs_staged(start + tile.block + block, end_if(inside, start + params.blocks));
}

fn right_four(tile: Tile, source: Source, block: u32, output: u32, step: u32) -> vec4<f16> {
    let b = tile.block + block;
    let i = source + step;
    let j = tile.output + output;
    if (RIGHT_TURNED) {
        let start = (b * params.height + j) * params.width;
        return w_staged(start + i, end_if(b < params.blocks && j < params.height, start + params.width));
    }
    let start = (b * params.width + i) * params.height;
    return w_staged(start + j, end_if(b < params.blocks && i < params.width, start + params.height));
}

fn store_across(tile: Tile, block: u32, line: u32, output: u32, four: vec4<f32>) {
    let row = tile.row + line;
    let j = tile.output + output;
    let first = tile.block + block;
    let element = interleaved(first, params.blocks, j);
    let start = row * params.height * params.blocks;
    let inside = row < params.rows && j < params.height;
    let bias = bias4(element, params.blocks * params.height);
    outputs_store4(start + element, end_if(inside, start + (j + 1u) * params.blocks), four + bias);
}
