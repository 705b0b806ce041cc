// The gradients of a causal depthwise convolution as a loop: one lane takes one row, a step at a time from the last to the
// first. A dispatch takes some of the steps; the sums of those behind them are taken again. What the rows of a channel add to
// the gradients of its taps and its bias is left to be summed.

struct Params {
    groups: u32, // rows, by LANES
    rows: u32,   // batch x channels
    channels: u32,
    length: u32, // steps in a row
    first: u32,  // the steps of this dispatch, from this one
    end: u32,    // to before this one
}

const LANES: u32 = 64;
const WIDTH: u32 = 4; // taps
const SILU: bool = true;
const HAS_BIAS: bool = true; // without, `bias` is not read
const HAS_INITIAL: bool = true; // without, rows begin after zeros; `initial` is not read and `dinitial` not written

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (channels, WIDTH)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> initial: array<f32>; // (rows, WIDTH - 1)
@group(0) @binding(5) var<storage, read> dy: array<dy_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> dx: array<dx_word>; // (rows, length)
@group(0) @binding(7) var<storage, read_write> parts: array<f32>; // (rows, WIDTH) of taps, then (rows) of biases
@group(0) @binding(8) var<storage, read_write> dinitial: array<f32>; // (rows, WIDTH - 1)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts) * LANES + lane;
    if (row < params.rows) {
        go_back(row);
    }
}

fn go_back(row: u32) {
    let channel = row % params.channels;
    // Of the sums of the steps behind, the latest first, and room for one more.
    var gradients: array<f32, WIDTH>;
    for (var k = 0u; k < WIDTH - 1u; k++) {
        gradients[k] = sum_gradient(row, params.end + WIDTH - 2u - k);
    }
    for (var t = params.end; t > params.first; t--) {
        let step = t - 1u;
        let gradient = sum_gradient(row, step);
        gradients[WIDTH - 1u] = gradient;
        var of_input = 0.0;
        for (var k = 0u; k < WIDTH; k++) {
            of_input = fma(weight[channel * WIDTH + k], gradients[k], of_input);
            parts[row * WIDTH + k] += gradient * input(row, step, k);
        }
        parts[params.rows * WIDTH + row] += gradient;
        dx_store(row * params.length + step, of_input);
        shift(&gradients);
    }
    if (HAS_INITIAL && params.first == 0u) {
        for (var i = WIDTH - 1u; i > 0u; i--) {
            gradients[WIDTH - 1u] = 0.0;
            var of_input = 0.0;
            for (var k = 0u; k < WIDTH; k++) {
                of_input = fma(weight[channel * WIDTH + k], gradients[k], of_input);
            }
            dinitial[row * (WIDTH - 1u) + i - 1u] = of_input;
            shift(&gradients);
        }
    }
}

fn shift(gradients: ptr<function, array<f32, WIDTH>>) {
    for (var k = 1u; k < WIDTH; k++) {
        (*gradients)[k - 1u] = (*gradients)[k];
    }
}

// What the k-th tap of a step multiplies.
fn input(row: u32, t: u32, k: u32) -> f32 {
    if (k == WIDTH - 1u) {
        return x_load(row * params.length + t);
    }
    return input_before(row, t, k);
}

// Of a step's sum before the activation; past the last step there is none.
fn sum_gradient(row: u32, t: u32) -> f32 {
    if (t >= params.length) {
        return 0.0;
    }
    let gradient = dy_load(row * params.length + t);
    if (!SILU) {
        return gradient;
    }
    let channel = row % params.channels;
    var sum = 0.0;
    if (HAS_BIAS) {
        sum = bias[channel];
    }
    for (var k = 0u; k < WIDTH; k++) {
        sum = fma(weight[channel * WIDTH + k], input(row, t, k), sum);
    }
    return gradient * silu_slope(vec4<f32>(sum)).x;
}
