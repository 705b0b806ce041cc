// What the steps of a long convolution need of the sequences before them: their last samples, gated.

struct Params {
    groups: u32, // LANES samples each
    total: u32, // samples of all histories
    length: u32, // of a sequence
    taps: u32,
}

const LANES: u32 = 256;
const HAS_PRE: bool = true; // without, `pre` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, channels, length)
@group(0) @binding(2) var<storage, read> pre: array<pre_word>; // (batch, channels, length)
@group(0) @binding(3) var<storage, read_write> history: array<f32>; // (batch, channels, taps), sample t in place t % taps

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i >= params.total) {
        return;
    }
    // The last sample whose time leaves that remainder. There are no fewer samples than taps.
    let place = i % params.taps;
    let last = params.length - 1u;
    let time = last - (last - place) % params.taps;
    let from_sample = i / params.taps * params.length + time;
    var sample = x_load(from_sample);
    if (HAS_PRE) {
        sample *= pre_load(from_sample);
    }
    history[i] = sample;
}
