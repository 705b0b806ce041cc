// The operands of common/matrix_product for one block-diagonal factor: outputs[row, at(b, j)] = sum over i of w[b, j, i]
// inputs[row, at(b, i)], where rows hold block after block. A tile is of rows x outputs of one block.

struct Params {
    groups: u32, // tiles of rows x blocks x outputs, the last running fastest
    rows: u32,
    blocks: u32,
    height: u32, // outputs of a block
    width: u32,  // inputs of a block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<inputs_word>; // (rows, blocks x width)
@group(0) @binding(2) var<storage, read> w: array<w_word>; // (blocks, height, width) if RIGHT_TURNED, or (blocks, width, height)
@group(0) @binding(3) var<storage, read_write> outputs: array<outputs_word>; // (rows, blocks x height)

struct Tile {
    row: u32,
    block: u32,
    output: u32,
}

fn tile_of(group: u32) -> Tile {
    let across = (params.height + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
    return Tile(
        group / across / params.blocks * TILE_LINES,
        group / across % params.blocks,
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

fn left_four(tile: Tile, source: Source, block: u32, line: u32, step: u32) -> vec4<f16> {
    let row = tile.row + line;
    let start = (row * params.blocks + tile.block) * params.width;
    return inputs_staged(start + source + step, end_if(row < params.rows, start + params.width));
}

fn right_four(tile: Tile, source: Source, block: u32, output: u32, step: u32) -> vec4<f16> {
    let i = source + step;
    let j = tile.output + output;
    if (RIGHT_TURNED) {
        let start = (tile.block * params.height + j) * params.width;
        return w_staged(start + i, end_if(j < params.height, start + params.width));
    }
    let start = (tile.block * params.width + i) * params.height;
    return w_staged(start + j, end_if(i < params.width, start + params.height));
}

fn store(tile: Tile, block: u32, line: u32, output: u32, four: vec4<f32>) {
    let row = tile.row + line;
    let element = blocked(tile.block, params.height, tile.output + output);
    let start = row * params.blocks * params.height;
    let end = start + (tile.block + 1u) * params.height;
    let bias = bias4(element, params.blocks * params.height);
    outputs_store4(start + element, end_if(row < params.rows, end), four + bias);
}
