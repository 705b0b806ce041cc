// Both factors of a Monarch product at once. A workgroup takes a tile of rows and keeps their intermediate values z
// in its own memory, so that only x and y move. The unit of work is a quad, four consecutive outputs, for
// LANE_ROWS rows: every weight is loaded by the one lane that uses it, and serves all of those rows.

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
const Z_FLOATS: u32 = 4096; // at least rows x k x q

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, k x p)
@group(0) @binding(2) var<storage, read> w1: array<w1_word>; // (k, q, p)
@group(0) @binding(3) var<storage, read> w2: array<w2_word>; // (l, s, r)
@group(0) @binding(4) var<storage, read_write> y: array<y_word>; // (batch, l x s)

var<workgroup> z: array<f32, Z_FLOATS>; // (rows, k x q)

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
    let first_quads = params.k * quads(params.q);
    for (var item = lane; item < row_sets * first_quads; item += LANES) {
        first_factor(first_row, item / first_quads * LANE_ROWS, item % first_quads);
    }
    workgroupBarrier();
    let second_quads = quads(params.l) * params.s;
    for (var item = lane; item < row_sets * second_quads; item += LANES) {
        second_factor(first_row, item / second_quads * LANE_ROWS, item % second_quads);
    }
}

fn quads(elements: u32) -> u32 {
    return (elements + 3u) / 4u;
}

// A quad of z is four outputs of one block.
fn first_factor(first_row: u32, tile_row: u32, quad: u32) {
    let block = quad / quads(params.q);
    let output = quad % quads(params.q) * 4u;
    var sums: array<vec4<f32>, LANE_ROWS>;
    for (var i = 0u; i < params.p; i += 4u) {
        let weights = first_weights(block, output, i);
        for (var m = 0u; m < LANE_ROWS; m++) {
            let row = first_row + tile_row + m;
            let line = row * params.k * params.p + blocked(block, params.p, 0u);
            let four = x_load4(line + i, end_if(row < params.batch, line + params.p));
            for (var n = 0u; n < 4u; n++) {
                sums[m] = fma(weights[n], vec4<f32>(four[n]), sums[m]);
            }
        }
    }
    for (var m = 0u; m < LANE_ROWS; m++) {
        let line = (tile_row + m) * params.k * params.q + blocked(block, params.q, 0u);
        for (var n = 0u; n < 4u; n++) {
            if (output + n < params.q) {
                z[line + output + n] = sums[m][n];
            }
        }
    }
}

// A quad of y is one output of each of four blocks.
fn second_factor(first_row: u32, tile_row: u32, quad: u32) {
    let block = quad % quads(params.l) * 4u;
    let output = quad / quads(params.l);
    var sums: array<vec4<f32>, LANE_ROWS>;
    for (var i = 0u; i < params.r; i += 4u) {
        let weights = second_weights(block, output, i);
        for (var m = 0u; m < LANE_ROWS; m++) {
            let line = (tile_row + m) * params.l * params.r;
            for (var n = 0u; n < 4u; n++) {
                // Past the last input nothing was written, and a weight of zero does not undo a NaN.
                if (i + n < params.r) {
                    sums[m] = fma(weights[n], load_z(line + interleaved(block, params.l, i + n)), sums[m]);
                }
            }
        }
    }
    for (var m = 0u; m < LANE_ROWS; m++) {
        let row = first_row + tile_row + m;
        let line = row * params.l * params.s + interleaved(0u, params.l, output);
        y_store4(line + block, end_if(row < params.batch, line + params.l), sums[m]);
    }
}

// Blocks past the last, of which nothing is stored, read whatever lies there, but inside of z.
fn load_z(at: u32) -> vec4<f32> {
    let last = Z_FLOATS - 1u;
    return vec4<f32>(z[at], z[min(at + 1u, last)], z[min(at + 2u, last)], z[min(at + 3u, last)]);
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
        lines[n] = w2_load4(line + i, end_if(block + n < params.l, line + params.r));
    }
    return transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
}
