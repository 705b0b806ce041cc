// A causal depthwise convolution as a loop: one lane takes one row, a step at a time. A dispatch takes some of the steps,
// as in baseline/scan_sequential; the inputs before them are read again.

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
const HAS_INITIAL: bool = true; // without, rows begin after zeros and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (channels, WIDTH)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> initial: array<f32>; // (rows, WIDTH - 1)
@group(0) @binding(5) var<storage, read_write> y: array<y_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> last: array<f32>; // (rows, WIDTH - 1)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts) * LANES + lane;
    if (row < params.rows) {
        convolve_row(row);
    }
}

fn convolve_row(row: u32) {
    let channel = row % params.channels;
    // The last inputs, the oldest first, and room for the next.
    var inputs: array<f32, WIDTH>;
    for (var k = 0u; k < WIDTH - 1u; k++) {
        inputs[k] = input_before(row, params.first, k);
    }
    for (var t = params.first; t < params.end; t++) {
        inputs[WIDTH - 1u] = x_load(place(row, t));
        var sum = 0.0;
        if (HAS_BIAS) {
            sum = bias[channel];
        }
        for (var k = 0u; k < WIDTH; k++) {
            sum = fma(weight[channel * WIDTH + k], inputs[k], sum);
        }
        if (SILU) {
            sum *= sigmoid(vec4<f32>(sum)).x;
        }
        y_store(place(row, t), sum);
        for (var k = 1u; k < WIDTH; k++) {
            inputs[k - 1u] = inputs[k];
        }
    }
    for (var k = 0u; k < WIDTH - 1u; k++) {
        last[row * (WIDTH - 1u) + k] = inputs[k];
    }
}
