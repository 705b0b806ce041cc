// One step of a causal depthwise convolution for every row of a part of the channels, its earlier inputs in a circular
// buffer. A lane takes four rows.

struct Params {
    groups: u32, // rows, by 4 LANES
    rows: u32,   // batch x part
    channels: u32,
    first: u32,  // of the part
    part: u32,   // channels of the part
    oldest: u32, // the slot of the oldest input, which the newest replaces
}

const LANES: u32 = 64;
const WIDTH: u32 = 4; // taps
const SILU: bool = true;
const HAS_BIAS: bool = true; // without, `bias` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, channels)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (channels, WIDTH)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read_write> slots: array<f32>; // (batch, channels, WIDTH - 1)
@group(0) @binding(5) var<storage, read_write> y: array<y_word>; // (rows)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let first = (flat_group(group_id, group_counts) * LANES + lane) * 4u;
    var sums: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        if (first + n < params.rows) {
            let row = first + n;
            let channel = params.first + row % params.part;
            sums[n] = take_input(row / params.part * params.channels + channel, channel);
        }
    }
    y_store4(first, params.rows, activate(sums));
}

fn take_input(row: u32, channel: u32) -> f32 {
    let input = x_load(row);
    var sum = vec4<f32>();
    if (HAS_BIAS) {
        sum.x = bias[channel];
    }
    let line = row * (WIDTH - 1u);
    for (var k = 0u; k < WIDTH; k++) {
        // One weight at a time, in the place where `add_tap` looks for it.
        let lag = WIDTH - 1u - k;
        let weights = vec4<f32>(weight[channel * WIDTH + k]);
        var tap = input;
        if (lag > 0u) {
            tap = slots[line + (params.oldest + k) % (WIDTH - 1u)];
        }
        sum = add_tap(sum, weights, lag, vec4<f32>(tap));
    }
    slots[line + params.oldest] = input;
    return sum.x;
}
