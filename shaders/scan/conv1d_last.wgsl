// A causal depthwise convolution where channels lie innermost, of a part of them. A lane takes four neighbouring channels
// through STEPS steps, so that neighbouring lanes read neighbouring words.

struct Params {
    groups: u32, // batches x shares x fours of channels, by LANES
    batches: u32,
    channels: u32,
    first: u32,  // of the part
    part: u32,   // channels of the part
    length: u32,
    shares: u32, // lanes that take a row of steps
}

const LANES: u32 = 64;
const STEPS: u32 = 8;
const WIDTH: u32 = 4; // taps
const SILU: bool = true;
const HAS_BIAS: bool = true; // without, `bias` is not read
const HAS_INITIAL: bool = true; // without, rows begin after zeros and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batches, length, channels)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (channels, WIDTH)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> initial: array<f32>; // (states, channels, WIDTH - 1)
@group(0) @binding(5) var<storage, read_write> y: array<y_word>; // (batches, length, part)
@group(0) @binding(6) var<storage, read_write> last: array<f32>; // (states, channels, WIDTH - 1)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    let fours = (params.part + 3u) / 4u;
    let share = item / fours;
    if (share < params.batches * params.shares) {
        convolve_share(share / params.shares, share % params.shares * STEPS, item % fours * 4u);
    }
}

fn convolve_share(batch: u32, start: u32, column: u32) {
    let channel = params.first + column;
    let taps = load_taps(channel);
    let offsets = load_offsets(channel);
    let end = min(start + STEPS, params.length);
    var inputs = inputs_before(batch, i32(start), channel);
    for (var t = start; t < end; t++) {
        inputs = advance(inputs, load_inputs(batch, i32(t), channel));
        let line = (batch * params.length + t) * params.part;
        y_store4(line + column, line + params.part, activate(convolve(batch, i32(t), channel, taps, offsets, inputs)));
        if (ends(batch, i32(t))) {
            store_last(batch, i32(t), channel, inputs);
        }
    }
}

fn store_last(batch: u32, t: i32, channel: u32, inputs: Taps) {
    for (var k = 1u; k < WIDTH; k++) {
        let input = input_of(batch, t, k, channel, inputs);
        for (var n = 0u; n < channels_from(channel); n++) {
            let row = state_row(batch, t) * params.channels + channel + n;
            last[row * (WIDTH - 1u) + k - 1u] = input[n];
        }
    }
}
