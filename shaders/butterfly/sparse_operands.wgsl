// The operands of common/matrix_product where one is block-sparse: outputs[row, u] = sum over v of inputs[row, v] W[v, u],
// where only listed blocks of W are there. A tile is of rows x outputs of one column of blocks.

struct Params {
    groups: u32, // tiles of rows x columns of blocks x outputs, the last running fastest
    rows: u32,
    columns: u32, // of blocks
    inputs_width: u32, // blocks may overhang both
    outputs_width: u32,
    rank: u32, // not used
}

const BLOCK: u32 = 32; // side of a block

const TILES_ACROSS: u32 = BLOCK / TILE_OUTPUTS;

const_assert BLOCK % TILE_OUTPUTS == 0u && BLOCK % TILE_STEPS == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<inputs_word>; // (rows, inputs_width), or turned
@group(0) @binding(2) var<storage, read> w: array<w_word>; // (listed blocks, BLOCK, BLOCK), or turned
// Where the list of each column begins, and where the last ends; then (row of blocks, place in w) of each block.
@group(0) @binding(3) var<storage, read> lists: array<u32>;
@group(0) @binding(4) var<storage, read_write> outputs: array<outputs_word>; // (rows, outputs_width), or turned

struct Tile {
    row: u32,
    output: u32,
    in_block: u32, // the output, in its column of blocks
    first: u32,    // of the column's list
    end: u32,
}

fn tile_of(group: u32) -> Tile {
    let column = group / TILES_ACROSS % params.columns;
    let in_block = group % TILES_ACROSS * TILE_OUTPUTS;
    let row = group / TILES_ACROSS / params.columns * TILE_LINES;
    return Tile(row, column * BLOCK + in_block, in_block, lists[column], lists[column + 1u]);
}

fn steps_of(tile: Tile) -> u32 {
    return (tile.end - tile.first) * BLOCK;
}

// Where the steps of a stage lie.
struct Source {
    input: u32,
    step: u32, // in its block
    block: u32, // where the block begins
}

fn source_of(tile: Tile, step: u32) -> Source {
    let at = params.columns + 1u + 2u * (tile.first + step / BLOCK);
    return Source(lists[at] * BLOCK + step % BLOCK, step % BLOCK, lists[at + 1u] * BLOCK * BLOCK);
}

fn left_four(tile: Tile, source: Source, block: u32, line: u32, step: u32) -> vec4<f16> {
    let row = tile.row + line;
    let v = source.input + step;
    if (LEFT_TURNED) {
        let start = v * params.rows;
        return inputs_staged(start + row, end_if(v < params.inputs_width, start + params.rows));
    }
    let start = row * params.inputs_width;
    return inputs_staged(start + v, end_if(row < params.rows, start + params.inputs_width));
}

fn right_four(tile: Tile, source: Source, block: u32, output: u32, step: u32) -> vec4<f16> {
    let v = source.step + step;
    let u = tile.in_block + output;
    return w_staged(source.block + select(v * BLOCK + u, u * BLOCK + v, RIGHT_TURNED), source.block + BLOCK * BLOCK);
}

fn store(tile: Tile, block: u32, line: u32, output: u32, four: vec4<f32>) {
    let row = tile.row + line;
    let u = tile.output + output;
    if (OUTPUTS_TURNED) {
        let start = u * params.rows;
        outputs_store4(start + row, end_if(u < params.outputs_width, start + params.rows), four);
    } else {
        let start = row * params.outputs_width;
        let bias = bias4(u, params.outputs_width);
        outputs_store4(start + u, end_if(row < params.rows, start + params.outputs_width), four + bias);
    }
}
