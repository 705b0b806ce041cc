// Both factors of a Monarch product at once. A workgroup takes a tile of rows and keeps their intermediate values z
// in its own memory, so that only x and y move. A quad is four consecutive outputs; a lane takes LANE_QUADS of them
// that have the same inputs, for LANE_ROWS rows. So every weight is loaded by the one lane that uses it.

struct Params {
    groups: u32, // tiles of rows
    batch: u32,
    rows: u32, // rows of a tile, a multiple of LANE_ROWS
    k: u32,    // shape (k, q, p) of w1
    q: u32,
    p: u32,
    l: u32, // shape (l, s, r) of w2
    s: u32,
    r: u32,
}

const LANES: u32 = 256;
const LANE_ROWS: u32 = 4;
const LANE_QUADS: u32 = 2;
const Z_FLOATS: u32 = 4096; // at least rows x k x q, what the module that defines z makes room for

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, k x p)
@group(0) @binding(2) var<storage, read> w1: array<w1_word>; // (k, q, p)
@group(0) @binding(3) var<storage, read> w2: array<w2_word>; // (l, s, r)
@group(0) @binding(4) var<storage, read_write> y: array<y_word>; // (batch, l x s)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_rows(lane, group * params.rows);
    }
}

fn multiply_rows(lane: u32, first_row: u32) {
    let row_sets = params.rows / LANE_ROWS;
    let across = shares(quads(params.q));
    let first_items = params.k * across;
    for (var item = lane; item < row_sets * first_items; item += LANES) {
        let share = item % first_items;
        first_factor(first_row, item / first_items * LANE_ROWS, share / across, share % across * LANE_QUADS * 4u);
    }
    workgroupBarrier();
    let along = quads(params.l);
    let second_items = along * shares(params.s);
    for (var item = lane; item < row_sets * second_items; item += LANES) {
        let share = item % second_items;
        second_factor(first_row, item / second_items * LANE_ROWS, share % along * 4u, share / along * LANE_QUADS);
    }
}

fn quads(elements: u32) -> u32 {
    return (elements + 3u) / 4u;
}

fn shares(quads: u32) -> u32 {
    return (quads + LANE_QUADS - 1u) / LANE_QUADS;
}

// A quad of z is four outputs of one block; the next quad is the block's next four.
fn first_factor(first_row: u32, tile_row: u32, block: u32, output: u32) {
    var sums: array<array<vec4<f32>, LANE_ROWS>, LANE_QUADS>;
    for (var i = 0u; i < params.p; i += 4u) {
        var weights: array<mat4x4<f32>, LANE_QUADS>;
        for (var quad = 0u; quad < LANE_QUADS; quad++) {
            weights[quad] = first_weights(block, output + quad * 4u, i);
        }
        for (var m = 0u; m < LANE_ROWS; m++) {
            let row = first_row + tile_row + m;
            let line = row * params.k * params.p + blocked(block, params.p, 0u);
            let four = x_load4(line + i, end_if(row < params.batch, line + params.p));
            for (var quad = 0u; quad < LANE_QUADS; quad++) {
                for (var n = 0u; n < 4u; n++) {
                    sums[quad][m] = fma(weights[quad][n], vec4<f32>(four[n]), sums[quad][m]);
                }
            }
        }
    }
    for (var quad = 0u; quad < LANE_QUADS; quad++) {
        for (var m = 0u; m < LANE_ROWS; m++) {
            let line = (tile_row + m) * params.k * params.q + blocked(block, params.q, 0u);
            z_store4(line + output + quad * 4u, line + params.q, sums[quad][m]);
        }
    }
}

// A quad of y is one output of each of four blocks; the next quad is the next output of the same blocks.
fn second_factor(first_row: u32, tile_row: u32, block: u32, output: u32) {
    var sums: array<array<vec4<f32>, LANE_ROWS>, LANE_QUADS>;
    for (var i = 0u; i < params.r; i += 4u) {
        var weights: array<mat4x4<f32>, LANE_QUADS>;
        for (var quad = 0u; quad < LANE_QUADS; quad++) {
            weights[quad] = second_weights(block, output + quad, i);
        }
        for (var m = 0u; m < LANE_ROWS; m++) {
            let line = (tile_row + m) * params.l * params.r;
            for (var n = 0u; n < 4u; n++) {
                // Past the last input weights are zero, and so must z be: it could hold a NaN.
                let input = min(i + n, params.r - 1u);
                let four = z_load4(line + interleaved(block, params.l, input));
                let masked = select(vec4<f32>(), four, i + n < params.r);
                for (var quad = 0u; quad < LANE_QUADS; quad++) {
                    sums[quad][m] = fma(weights[quad][n], masked, sums[quad][m]);
                }
            }
        }
    }
    for (var quad = 0u; quad < LANE_QUADS; quad++) {
        for (var m = 0u; m < LANE_ROWS; m++) {
            let row = first_row + tile_row + m;
            let line = row * params.l * params.s + interleaved(0u, params.l, output + quad);
            let inside = row < params.batch && output + quad < params.s;
            let column = interleaved(0u, params.l, output + quad);
            let bias = bias4(column + block, end_if(inside, column + params.l));
            y_store4(line + block, end_if(inside, line + params.l), sums[quad][m] + bias);
        }
    }
}

// Column n holds the weights of input i + n for the quad's outputs.
fn first_weights(block: u32, output: u32, i: u32) -> mat4x4<f32> {
    var lines: array<vec4<f32>, 4>;
    for (var n = 0u; n < 4u; n++) {
        let line = (block * params.q + output + n) * params.p;
        lines[n] = w1_load4(line + i, end_if(output + n < params.q, line + params.p));
    }
    return transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
}

fn second_weights(block: u32, output: u32, i: u32) -> mat4x4<f32> {
    var lines: array<vec4<f32>, 4>;
    for (var n = 0u; n < 4u; n++) {
        let line = ((block + n) * params.s + output) * params.r;
        let inside = block + n < params.l && output < params.s;
        lines[n] = w2_load4(line + i, end_if(inside, line + params.r));
    }
    return transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
}
