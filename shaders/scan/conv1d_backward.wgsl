// The gradients of a causal depthwise convolution. A workgroup takes a chunk of one row, a tile of LANES x QUADS quads
// at a time; what the chunk adds to the gradients of the parameters goes to `partials`, to be summed in a fixed order.

struct Params {
    groups: u32, // rows x chunks
    channels: u32,
    length: u32, // steps in a row
    chunk: u32,  // steps in a chunk, a multiple of the tile
    chunks: u32, // chunks in a row
    first_bias: u32,  // where the parts of dbias begin in `partials`
    first_state: u32, // where the gradient of the initial state begins
}

const LANES: u32 = 64;
const REDUCE_LANES: u32 = 64; // all of them
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
@group(0) @binding(5) var<storage, read> dy: array<dy_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> dx: array<dx_word>; // (rows, length)
@group(0) @binding(7) var<storage, read_write> partials: array<f32>; // (batch, chunks, channels, WIDTH), and more

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        convolve_chunk(lane, group / params.chunks, group % params.chunks);
    }
}

// What a lane adds to the gradients of the weights and of the bias.
var<private> dweights: vec4<f32>;
var<private> dbias: f32;

fn convolve_chunk(lane: Lane, row: u32, chunk: u32) {
    let channel = row % params.channels;
    let weights = load_weights(channel);
    let offset = load_bias(channel);
    let end = min((chunk + 1u) * params.chunk, params.length);
    for (var tile = chunk * params.chunk; tile < end; tile += LANES * QUADS * 4u) {
        convolve_share(row, i32(tile + rank(lane) * QUADS * 4u), weights, offset);
    }
    let all_weights = reduce_add(lane, dweights);
    let all_bias = reduce_add(lane, vec4<f32>(dbias)).x;
    if (rank(lane) == 0u) {
        let part = (row / params.channels * params.chunks + chunk) * params.channels + channel;
        for (var k = 0u; k < WIDTH; k++) {
            partials[part * WIDTH + k] = all_weights[4u - WIDTH + k];
        }
        partials[params.first_bias + part] = all_bias;
    }
}

fn convolve_share(row: u32, first: i32, weights: vec4<f32>, offset: f32) {
    var before = load_inputs(row, first - 4);
    var now = load_inputs(row, first);
    var dsums = load_dsums(row, first, weights, offset, before, now);
    if (first == 0 && HAS_INITIAL) {
        store_dinitial(row, weights, dsums);
    }
    for (var quad = 0u; quad < QUADS; quad++) {
        let t = first + 4 * i32(quad);
        for (var lag = 0u; lag < WIDTH; lag++) {
            let inputs = within(row, t, lag, lagging(before, now, lag));
            dweights[3u - lag] += dot(dsums, inputs);
        }
        dbias += dot(dsums, vec4<f32>(1.0));
        before = now;
        now = load_inputs(row, t + 4);
        let after = load_dsums(row, t + 4, weights, offset, before, now);
        let line = row * params.length;
        dx_store4(line + u32(t), line + params.length, gather(row, t, weights, dsums, after));
        dsums = after;
    }
}

// The gradients of four sums before their activation; 0 past the row's end.
fn load_dsums(row: u32, t: i32, weights: vec4<f32>, offset: f32, before: vec4<f32>, now: vec4<f32>) -> vec4<f32> {
    let line = row * params.length;
    let gradient = dy_load4(line + u32(t), line + params.length);
    if (SILU) {
        return gradient * activation_slope(convolve(row, t, weights, offset, before, now));
    }
    return gradient;
}

// The gradients of the four inputs from step `t`: what each gave to its own sum and to those after it.
fn gather(row: u32, t: i32, weights: vec4<f32>, dsums: vec4<f32>, after: vec4<f32>) -> vec4<f32> {
    var sum: vec4<f32>;
    for (var lag = 0u; lag < WIDTH; lag++) {
        // Four lags of the sums that lie four steps later lead from `after` back to `dsums`.
        var later = dsums;
        if (lag > 0u) {
            later = lagging(dsums, after, 4u - lag);
        }
        sum = add_tap(sum, weights, lag, within(row, t + i32(lag), lag, later));
    }
    return sum;
}

// The initial state holds the inputs before the first step, which gave to no sums of their own.
fn store_dinitial(row: u32, weights: vec4<f32>, dsums: vec4<f32>) {
    let gradient = gather(row, -4, weights, vec4<f32>(), dsums);
    for (var k = 0u; k < WIDTH - 1u; k++) {
        partials[params.first_state + row * (WIDTH - 1u) + k] = gradient[5u - WIDTH + k];
    }
}
