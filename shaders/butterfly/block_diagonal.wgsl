// One block-diagonal factor: outputs[row, at(b, j)] = sum over i of w[b, j, i] inputs[row, at(b, i)]. A workgroup
// takes a tile of rows x blocks x outputs of a block and runs over the inputs, TILE_WIDTH at a time; each lane keeps 4
// rows x LANE_QUADS quads of sums. A quad is four outputs that are consecutive in memory: of one block where rows
// are blocked, of four neighbouring blocks where they are interleaved.

struct Params {
    groups: u32, // tiles of rows x blocks x outputs, the last running fastest
    rows: u32,
    blocks: u32,
    height: u32, // outputs of a block
    width: u32,  // inputs of a block
}

const INTERLEAVED: bool = false; // how blocks lie in a row, on both sides
const TILE_ROWS: u32 = 64;
const TILE_BLOCKS: u32 = 1;
const TILE_HEIGHT: u32 = 64;
const TILE_WIDTH: u32 = 16;
const LANE_QUADS: u32 = 4;

const ROW_QUADS: u32 = TILE_ROWS / 4u;
const WIDTH_QUADS: u32 = TILE_WIDTH / 4u;
const QUADS: u32 = TILE_BLOCKS * TILE_HEIGHT / 4u; // of one row of the tile
const QUAD_LANES: u32 = QUADS / LANE_QUADS;
const LANES: u32 = ROW_QUADS * QUAD_LANES;

// Quads side by side: the outputs of one block, or the same output of neighbouring blocks. One of the two is not
// used, and may be less than a quad.
const HEIGHT_QUADS: u32 = max(TILE_HEIGHT / 4u, 1u);
const BLOCK_QUADS: u32 = max(TILE_BLOCKS / 4u, 1u);

const_assert TILE_ROWS % 4u == 0u && TILE_WIDTH % 4u == 0u && QUADS % LANE_QUADS == 0u;
// All quads of a lane read the same inputs.
const_assert INTERLEAVED || (TILE_HEIGHT % 4u == 0u && HEIGHT_QUADS % LANE_QUADS == 0u);
const_assert !INTERLEAVED || (TILE_BLOCKS % 4u == 0u && QUAD_LANES % BLOCK_QUADS == 0u);

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<inputs_word>; // (rows, blocks x width)
@group(0) @binding(2) var<storage, read> w: array<w_word>; // (blocks, height, width)
@group(0) @binding(3) var<storage, read_write> outputs: array<outputs_word>; // (rows, blocks x height)

var<workgroup> weight_tile: array<vec4<f32>, TILE_WIDTH * QUADS>; // a quad's weights for one input
// Inputs (TILE_WIDTH, TILE_BLOCKS, TILE_ROWS) by fours along rows where blocked, (TILE_WIDTH, TILE_ROWS, TILE_BLOCKS)
// by fours along blocks where interleaved: what a lane reads at once.
var<workgroup> input_tile: array<vec4<f32>, TILE_WIDTH * TILE_BLOCKS * ROW_QUADS>;

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
    let across = (params.height + TILE_HEIGHT - 1u) / TILE_HEIGHT;
    let along = (params.blocks + TILE_BLOCKS - 1u) / TILE_BLOCKS;
    return Place(
        group / across / along * TILE_ROWS,
        group / across % along * TILE_BLOCKS,
        group % across * TILE_HEIGHT,
    );
}

fn multiply_tile(lane: u32, tile: Place) {
    var sums: array<vec4<f32>, 4u * LANE_QUADS>;
    for (var first = 0u; first < params.width; first += TILE_WIDTH) {
        stage_weights(lane, tile, first);
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
        for (var m = 0u; m < 4u; m++) {
            let quad = place(tile, quad_of(lane, n));
            store_quad(tile.row + lane / QUAD_LANES * 4u + m, quad, sums[4u * n + m]);
        }
    }
}

// Lanes next to each other take quads next to each other, so that their loads and stores meet in memory.
fn quad_of(lane: u32, n: u32) -> u32 {
    let quad_lane = lane % QUAD_LANES;
    if (INTERLEAVED) {
        return quad_lane + n * QUAD_LANES;
    }
    let stride = HEIGHT_QUADS / LANE_QUADS;
    return quad_lane / stride * HEIGHT_QUADS + quad_lane % stride + n * stride;
}

fn place(tile: Place, quad: u32) -> Place {
    if (INTERLEAVED) {
        return Place(tile.row, tile.block + quad % BLOCK_QUADS * 4u, tile.output + quad / BLOCK_QUADS);
    }
    return Place(tile.row, tile.block + quad / HEIGHT_QUADS, tile.output + quad % HEIGHT_QUADS * 4u);
}

// Loads run along a block's inputs; the tile is read along its outputs, or across blocks.
fn stage_weights(lane: u32, tile: Place, first: u32) {
    for (var cell = lane; cell < WIDTH_QUADS * QUADS; cell += LANES) {
        let quad = cell / WIDTH_QUADS;
        let i = cell % WIDTH_QUADS * 4u;
        let at = place(tile, quad);
        var lines: array<vec4<f32>, 4>;
        for (var n = 0u; n < 4u; n++) {
            let block = at.block + select(0u, n, INTERLEAVED);
            let output = at.output + select(n, 0u, INTERLEAVED);
            let line = (block * params.height + output) * params.width;
            let inside = block < params.blocks && output < params.height;
            lines[n] = w_load4(line + first + i, end_if(inside, line + params.width));
        }
        let columns = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
        for (var n = 0u; n < 4u; n++) {
            weight_tile[(i + n) * QUADS + quad] = columns[n];
        }
    }
}

fn stage_blocked(lane: u32, tile: Place, first: u32) {
    for (var cell = lane; cell < WIDTH_QUADS * TILE_BLOCKS * ROW_QUADS; cell += LANES) {
        let i = cell % WIDTH_QUADS * 4u;
        let row_quad = cell / WIDTH_QUADS % ROW_QUADS;
        let block = cell / WIDTH_QUADS / ROW_QUADS;
        var lines: array<vec4<f32>, 4>;
        for (var n = 0u; n < 4u; n++) {
            let row = tile.row + row_quad * 4u + n;
            let line = row * params.blocks * params.width + blocked(tile.block + block, params.width, 0u);
            let inside = row < params.rows && tile.block + block < params.blocks;
            lines[n] = inputs_load4(line + first + i, end_if(inside, line + params.width));
        }
        let columns = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
        for (var n = 0u; n < 4u; n++) {
            input_tile[((i + n) * TILE_BLOCKS + block) * ROW_QUADS + row_quad] = columns[n];
        }
    }
}

fn stage_interleaved(lane: u32, tile: Place, first: u32) {
    for (var word = lane; word < TILE_WIDTH * TILE_ROWS * BLOCK_QUADS; word += LANES) {
        let block_quad = word % BLOCK_QUADS;
        let i = word / BLOCK_QUADS % TILE_WIDTH;
        let row = word / BLOCK_QUADS / TILE_WIDTH;
        let line = (tile.row + row) * params.blocks * params.width + interleaved(0u, params.blocks, first + i);
        let inside = tile.row + row < params.rows && first + i < params.width;
        let four = inputs_load4(line + tile.block + block_quad * 4u, end_if(inside, line + params.blocks));
        input_tile[(i * TILE_ROWS + row) * BLOCK_QUADS + block_quad] = four;
    }
}

fn add_products(lane: u32, sums: ptr<function, array<vec4<f32>, 4u * LANE_QUADS>>) {
    let row_quad = lane / QUAD_LANES;
    let quad = quad_of(lane, 0u);
    for (var i = 0u; i < TILE_WIDTH; i++) {
        var four: array<vec4<f32>, 4>;
        if (INTERLEAVED) {
            for (var m = 0u; m < 4u; m++) {
                four[m] = input_tile[(i * TILE_ROWS + row_quad * 4u + m) * BLOCK_QUADS + quad % BLOCK_QUADS];
            }
        } else {
            let rows = input_tile[(i * TILE_BLOCKS + quad / HEIGHT_QUADS) * ROW_QUADS + row_quad];
            for (var m = 0u; m < 4u; m++) {
                four[m] = vec4<f32>(rows[m]);
            }
        }
        for (var n = 0u; n < LANE_QUADS; n++) {
            let weights = weight_tile[i * QUADS + quad_of(lane, n)];
            for (var m = 0u; m < 4u; m++) {
                (*sums)[4u * n + m] = fma(weights, four[m], (*sums)[4u * n + m]);
            }
        }
    }
}

fn store_quad(row: u32, at: Place, sum: vec4<f32>) {
    let inside = row < params.rows && at.block < params.blocks && at.output < params.height;
    let line = row * params.blocks * params.height;
    if (INTERLEAVED) {
        let end = line + interleaved(params.blocks, params.blocks, at.output);
        outputs_store4(line + interleaved(at.block, params.blocks, at.output), end_if(inside, end), sum);
    } else {
        let end = line + blocked(at.block, params.height, params.height);
        outputs_store4(line + blocked(at.block, params.height, at.output), end_if(inside, end), sum);
    }
}
