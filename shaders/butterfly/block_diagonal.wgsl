// One block-diagonal factor: outputs[row, at(b, j)] = sum over i of w[b, j, i] inputs[row, at(b, i)]. A workgroup takes
// a tile of rows x blocks x outputs of a block, whose lines are the rows, and runs over the inputs, TILE_STEPS at a
// time. A module adds the bias, or nothing.

struct Params {
    groups: u32, // tiles of rows x blocks x outputs, the last running fastest
    rows: u32,
    blocks: u32,
    height: u32, // outputs of a block
    width: u32,  // inputs of a block
}

const TURNED: bool = false; // blocks are stored (width, height): the factor is transposed

const_assert !(TURNED && INTERLEAVED) || TILE_OUTPUTS % 4u == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<inputs_word>; // (rows, blocks x width)
@group(0) @binding(2) var<storage, read> w: array<w_word>; // (blocks, height, width), or (blocks, width, height)
@group(0) @binding(3) var<storage, read_write> outputs: array<outputs_word>; // (rows, blocks x height)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_tile(lane, origin(group));
    }
}

struct Place {
    row: u32,
    block: u32,
    output: u32,
}

fn origin(group: u32) -> Place {
    let across = (params.height + TILE_OUTPUTS - 1u) / TILE_OUTPUTS;
    let along = (params.blocks + TILE_BLOCKS - 1u) / TILE_BLOCKS;
    return Place(
        group / across / along * TILE_LINES,
        group / across % along * TILE_BLOCKS,
        group % across * TILE_OUTPUTS,
    );
}

fn multiply_tile(lane: u32, tile: Place) {
    var sums: array<vec4<f32>, SUMS>;
    for (var first = 0u; first < params.width; first += TILE_STEPS) {
        if (TURNED) {
            stage_turned_weights(lane, tile, first);
        } else {
            stage_weights(lane, tile, first);
        }
        if (INTERLEAVED) {
            stage_interleaved(lane, tile, first);
        } else {
            stage_blocked(lane, tile, first);
        }
        workgroupBarrier();
        add_products(lane, &sums);
        // The next step overwrites the tiles.
        workgroupBarrier();
    }
    for (var n = 0u; n < LANE_QUADS; n++) {
        let quad = quad_at(quad_of(lane, n));
        for (var m = 0u; m < LANE_LINES; m++) {
            let at = Place(tile.row + line_of(lane, m), tile.block + quad.block, tile.output + quad.output);
            store_quad(at, sums[LANE_LINES * n + m]);
        }
    }
}

// Loads run along a block's inputs; the tile is read along its outputs, or across blocks.
fn stage_weights(lane: u32, tile: Place, first: u32) {
    for (var cell = lane; cell < STEP_QUADS * QUADS; cell += LANES) {
        let quad = cell / STEP_QUADS;
        let i = cell % STEP_QUADS * 4u;
        let at = quad_at(quad);
        var lines: array<vec4<f32>, 4>;
        for (var n = 0u; n < 4u; n++) {
            let block = tile.block + at.block + select(0u, n, INTERLEAVED);
            let output = tile.output + at.output + select(n, 0u, INTERLEAVED);
            let line = (block * params.height + output) * params.width;
            let inside = block < params.blocks && output < params.height;
            lines[n] = w_load4(line + first + i, end_if(inside, line + params.width));
        }
        let columns = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
        for (var n = 0u; n < 4u; n++) {
            right_tile[(i + n) * QUADS + quad] = columns[n];
        }
    }
}

// Loads run along a block's outputs, as the tile does where rows are blocked.
fn stage_turned_weights(lane: u32, tile: Place, first: u32) {
    if (INTERLEAVED) {
        for (var cell = lane; cell < TILE_STEPS * BLOCK_QUADS * OUTPUT_QUADS; cell += LANES) {
            let output = cell % OUTPUT_QUADS * 4u;
            let i = cell / OUTPUT_QUADS % TILE_STEPS;
            let block_quad = cell / OUTPUT_QUADS / TILE_STEPS;
            var lines: array<vec4<f32>, 4>;
            for (var n = 0u; n < 4u; n++) {
                lines[n] = turned_weights(tile.block + block_quad * 4u + n, first + i, tile.output + output);
            }
            let columns = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
            for (var n = 0u; n < 4u; n++) {
                right_tile[i * QUADS + (output + n) * BLOCK_QUADS + block_quad] = columns[n];
            }
        }
    } else {
        for (var cell = lane; cell < TILE_STEPS * QUADS; cell += LANES) {
            let at = quad_at(cell % QUADS);
            right_tile[cell] = turned_weights(tile.block + at.block, first + cell / QUADS, tile.output + at.output);
        }
    }
}

fn turned_weights(block: u32, i: u32, output: u32) -> vec4<f32> {
    let line = (block * params.width + i) * params.height;
    let inside = block < params.blocks && i < params.width;
    return w_load4(line + output, end_if(inside, line + params.height));
}

fn stage_blocked(lane: u32, tile: Place, first: u32) {
    for (var cell = lane; cell < STEP_QUADS * TILE_BLOCKS * LINE_QUADS; cell += LANES) {
        let i = cell % STEP_QUADS * 4u;
        let line_quad = cell / STEP_QUADS % LINE_QUADS;
        let block = cell / STEP_QUADS / LINE_QUADS;
        var lines: array<vec4<f32>, 4>;
        for (var n = 0u; n < 4u; n++) {
            let row = tile.row + line_quad * 4u + n;
            let line = row * params.blocks * params.width + blocked(tile.block + block, params.width, 0u);
            let inside = row < params.rows && tile.block + block < params.blocks;
            lines[n] = inputs_load4(line + first + i, end_if(inside, line + params.width));
        }
        let columns = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
        for (var n = 0u; n < 4u; n++) {
            left_tile[left_quad(i + n, block, line_quad)] = columns[n];
        }
    }
}

fn stage_interleaved(lane: u32, tile: Place, first: u32) {
    for (var word = lane; word < TILE_STEPS * TILE_LINES * BLOCK_QUADS; word += LANES) {
        let block_quad = word % BLOCK_QUADS;
        let i = word / BLOCK_QUADS % TILE_STEPS;
        let line = word / BLOCK_QUADS / TILE_STEPS;
        let row = tile.row + line;
        let start = row * params.blocks * params.width + interleaved(0u, params.blocks, first + i);
        let inside = row < params.rows && first + i < params.width;
        let four = inputs_load4(start + tile.block + block_quad * 4u, end_if(inside, start + params.blocks));
        left_tile[left_blocks(i, line, block_quad)] = four;
    }
}

fn store_quad(at: Place, sum: vec4<f32>) {
    let inside = at.row < params.rows && at.block < params.blocks && at.output < params.height;
    let line = at.row * params.blocks * params.height;
    if (INTERLEAVED) {
        let end = interleaved(params.blocks, params.blocks, at.output);
        let column = interleaved(at.block, params.blocks, at.output);
        let bias = bias4(column, end_if(inside, end));
        outputs_store4(line + column, end_if(inside, line + end), sum + bias);
    } else {
        let end = blocked(at.block, params.height, params.height);
        let column = blocked(at.block, params.height, at.output);
        let bias = bias4(column, end_if(inside, end));
        outputs_store4(line + column, end_if(inside, line + end), sum + bias);
    }
}
