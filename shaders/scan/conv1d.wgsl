// A causal depthwise convolution. A lane takes QUADS times four consecutive outputs of one row, and reads the four
// inputs before them too, which its neighbour left in the cache.

struct Params {
    groups: u32, // rows x shares, by LANES
    rows: u32,   // batch x channels
    channels: u32,
    length: u32, // steps in a row
    shares: u32, // lanes that take a row
}

const LANES: u32 = 64;
const QUADS: u32 = 2;
const WIDTH: u32 = 4; // taps
const SILU: bool = true;
const HAS_BIAS: bool = true; // without, `bias` is not read
const HAS_INITIAL: bool = true; // without, rows begin after zeros and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (channels, WIDTH)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> initial: array<f32>; // (rows, WIDTH - 1)
@group(0) @binding(5) var<storage, read_write> y: array<y_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> last: array<f32>; // (rows, WIDTH - 1), the inputs of the last steps

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let share = flat_group(group_id, group_counts) * LANES + lane;
    let row = share / params.shares;
    if (row < params.rows) {
        let first = share % params.shares * QUADS * 4u;
        convolve_share(row, i32(first));
        if (first == 0u) {
            store_last(row);
        }
    }
}

fn convolve_share(row: u32, first: i32) {
    let weights = load_weights(row % params.channels);
    let offset = load_bias(row % params.channels);
    let line = row * params.length;
    var before = load_inputs(row, first - 4);
    for (var quad = 0u; quad < QUADS; quad++) {
        let t = first + 4 * i32(quad);
        let now = load_inputs(row, t);
        let outputs = activate(convolve(row, t, weights, offset, before, now));
        y_store4(line + u32(t), line + params.length, outputs);
        before = now;
    }
}

fn store_last(row: u32) {
    let end = i32(params.length);
    let state = load_inputs(row, -4);
    for (var k = 0u; k < WIDTH - 1u; k++) {
        let lag = WIDTH - 2u - k;
        let t = end - 1 - i32(lag);
        var input: f32;
        if (t >= 0) {
            input = x_load(row * params.length + u32(t));
        } else {
            input = state[4 + t];
        }
        last[row * (WIDTH - 1u) + k] = within(row, end - 1, lag, vec4<f32>(input)).x;
    }
}
