// One more sample of every sequence of a diagonal state-space model. A lane takes a sequence, and goes over its states.

struct Params {
    groups: u32, // LANES sequences each
    sequences: u32,
    channels: u32,
    pairs: u32, // states of a sequence
    bits: u32, // as the modes were made
}

const LANES: u32 = 64;
const HAS_SKIP: bool = true; // without, `skip` is not read
const HAS_PRE: bool = true; // without, `pre` is not read
const HAS_POST: bool = true; // without, `post` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, channels)
@group(0) @binding(2) var<storage, read> skip: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read> pre: array<pre_word>; // (batch, channels)
@group(0) @binding(4) var<storage, read> post: array<post_word>; // (batch, channels)
@group(0) @binding(5) var<storage, read_write> states: array<vec2<f32>>; // (batch, channels, pairs)
@group(0) @binding(6) var<storage, read_write> y: array<y_word>; // (batch, channels)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let sequence = flat_group(group_id, group_counts) * LANES + lane;
    if (sequence >= params.sequences) {
        return;
    }
    let channel = sequence % params.channels;
    var sample = x_load(sequence);
    if (HAS_PRE) {
        sample *= pre_load(sequence);
    }
    var sum = 0.0;
    for (var n = 0u; n < params.pairs; n++) {
        let mode = channel * params.pairs + n;
        let place = sequence * params.pairs + n;
        let state = times(power(mode, 1u, 0u, 1u), states[place]) + vec2<f32>(sample, 0.0);
        states[place] = state;
        sum += times(weight(mode), state).x;
    }
    var result = 2.0 * sum;
    if (HAS_SKIP) {
        result += skip[channel] * sample;
    }
    if (HAS_POST) {
        result *= post_load(sequence);
    }
    y_store(sequence, result);
}
