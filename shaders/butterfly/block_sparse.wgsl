// A dense matrix times a block-sparse one: outputs[row, u] = sum over v of inputs[row, v] W[v, u], where only listed
// blocks of W are there. A workgroup takes a tile of rows x outputs of one column of blocks, whose lines are the rows,
// and runs over the blocks of that column, TILE_STEPS inputs at a time. Modules may add further products to the sums,
// and a bias.

struct Params {
    groups: u32, // tiles of rows x columns of blocks x outputs, the last running fastest
    rows: u32,
    columns: u32, // of blocks
    inputs_width: u32, // blocks may overhang both
    outputs_width: u32,
    rank: u32, // of what the module adds
}

const BLOCK: u32 = 32; // side of a block
const INPUTS_TURNED: bool = false;  // inputs are stored (inputs_width, rows)
const WEIGHTS_TURNED: bool = false; // blocks are stored (u, v)
const OUTPUTS_TURNED: bool = false; // outputs are stored (outputs_width, rows)

const TILES_ACROSS: u32 = BLOCK / TILE_OUTPUTS;

const_assert !INTERLEAVED && TILE_BLOCKS == 1u;
const_assert BLOCK % TILE_OUTPUTS == 0u && BLOCK % TILE_STEPS == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<inputs_word>; // (rows, inputs_width)
@group(0) @binding(2) var<storage, read> w: array<w_word>; // (listed blocks, BLOCK, BLOCK)
// Where the list of each column begins, and where the last ends; then (row of blocks, place in w) of each block.
@group(0) @binding(3) var<storage, read> lists: array<u32>;
@group(0) @binding(4) var<storage, read_write> outputs: array<outputs_word>; // (rows, outputs_width)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        let column = group / TILES_ACROSS % params.columns;
        let row = group / TILES_ACROSS / params.columns * TILE_LINES;
        multiply_tile(lane, row, column, group % TILES_ACROSS * TILE_OUTPUTS);
    }
}

fn multiply_tile(lane: u32, row: u32, column: u32, output: u32) {
    var sums: array<vec4<f32>, SUMS>;
    let end = lists[column + 1u];
    for (var entry = lists[column]; entry < end; entry++) {
        let at = params.columns + 1u + 2u * entry;
        let block = lists[at + 1u];
        for (var first = 0u; first < BLOCK; first += TILE_STEPS) {
            stage_inputs(lane, row, lists[at] * BLOCK + first);
            stage_weights(lane, block * BLOCK * BLOCK, first, output);
            workgroupBarrier();
            add_products(lane, &sums);
            // The next step overwrites the tiles.
            workgroupBarrier();
        }
    }
    add_further(lane, row, column * BLOCK + output, &sums);
    for (var n = 0u; n < LANE_QUADS; n++) {
        let u = column * BLOCK + output + quad_at(quad_of(lane, n)).output;
        let bias = bias4(u, params.outputs_width);
        for (var m = 0u; m < LANE_LINES; m += 4u) {
            let first = LANE_LINES * n + m;
            let four = mat4x4<f32>(sums[first], sums[first + 1u], sums[first + 2u], sums[first + 3u]);
            store(row + line_of(lane, m), u, four + mat4x4<f32>(bias, bias, bias, bias));
        }
    }
}

fn stage_inputs(lane: u32, first_row: u32, first: u32) {
    if (INPUTS_TURNED) {
        for (var cell = lane; cell < TILE_STEPS * LINE_QUADS; cell += LANES) {
            let row = first_row + cell % LINE_QUADS * 4u;
            let v = first + cell / LINE_QUADS;
            let line = v * params.rows;
            left_tile[cell] = inputs_load4(line + row, end_if(v < params.inputs_width, line + params.rows));
        }
    } else {
        for (var cell = lane; cell < STEP_QUADS * LINE_QUADS; cell += LANES) {
            let step = cell % STEP_QUADS * 4u;
            let line_quad = cell / STEP_QUADS;
            var lines: array<vec4<f32>, 4>;
            for (var n = 0u; n < 4u; n++) {
                let row = first_row + line_quad * 4u + n;
                let line = row * params.inputs_width;
                lines[n] = inputs_load4(line + first + step, end_if(row < params.rows, line + params.inputs_width));
            }
            let columns = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
            for (var n = 0u; n < 4u; n++) {
                left_tile[left_quad(step + n, 0u, line_quad)] = columns[n];
            }
        }
    }
}

fn stage_weights(lane: u32, block: u32, first: u32, output: u32) {
    let end = block + BLOCK * BLOCK;
    if (WEIGHTS_TURNED) {
        for (var cell = lane; cell < STEP_QUADS * QUADS; cell += LANES) {
            let step = cell % STEP_QUADS * 4u;
            let quad = cell / STEP_QUADS;
            let line = block + (output + quad * 4u) * BLOCK + first + step;
            let columns = transpose(mat4x4<f32>(
                w_load4(line, end),
                w_load4(line + BLOCK, end),
                w_load4(line + 2u * BLOCK, end),
                w_load4(line + 3u * BLOCK, end),
            ));
            for (var n = 0u; n < 4u; n++) {
                right_tile[(step + n) * QUADS + quad] = columns[n];
            }
        }
    } else {
        for (var cell = lane; cell < TILE_STEPS * QUADS; cell += LANES) {
            let line = block + (first + cell / QUADS) * BLOCK;
            right_tile[cell] = w_load4(line + output + cell % QUADS * 4u, end);
        }
    }
}

// Four rows of four outputs.
fn store(row: u32, u: u32, four: mat4x4<f32>) {
    if (OUTPUTS_TURNED) {
        let columns = transpose(four);
        for (var n = 0u; n < 4u; n++) {
            let line = (u + n) * params.rows;
            outputs_store4(line + row, end_if(u + n < params.outputs_width, line + params.rows), columns[n]);
        }
    } else {
        for (var n = 0u; n < 4u; n++) {
            let line = (row + n) * params.outputs_width;
            outputs_store4(line + u, end_if(row + n < params.rows, line + params.outputs_width), four[n]);
        }
    }
}
