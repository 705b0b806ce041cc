// One more sample of every sequence of a long convolution, as the sum over the samples before it that it is. A workgroup
// takes a sequence.

struct Params {
    groups: u32, // batch x channels
    channels: u32,
    taps: u32,
    time: u32, // of the sample
}

const LANES: u32 = 256;
const HAS_SKIP: bool = true; // without, `skip` is not read
const HAS_PRE: bool = true; // without, `pre` is not read
const HAS_POST: bool = true; // without, `post` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, channels)
@group(0) @binding(2) var<storage, read> k: array<f32>; // (channels, taps)
@group(0) @binding(3) var<storage, read> skip: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> pre: array<pre_word>; // (batch, channels)
@group(0) @binding(5) var<storage, read> post: array<post_word>; // (batch, channels)
@group(0) @binding(6) var<storage, read_write> history: array<f32>; // (batch, channels, taps), sample t in place t % taps
@group(0) @binding(7) var<storage, read_write> y: array<y_word>; // (batch, channels)

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts);
    if (row < params.groups) {
        step(lane, row);
    }
}

fn step(lane: u32, row: u32) {
    let kernel = row % params.channels * params.taps;
    let before = row * params.taps;
    var sample = x_load(row);
    if (HAS_PRE) {
        sample *= pre_load(row);
    }
    // This sample takes the place of the one that falls out of reach, which no lag below leads to.
    var sum = 0.0;
    for (var lag = 1u + lane; lag < min(params.taps, params.time + 1u); lag += LANES) {
        sum = fma(k[kernel + lag], history[before + (params.time - lag) % params.taps], sum);
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            sums[lane] += sums[lane + half];
        }
        workgroupBarrier();
    }
    if (lane > 0u) {
        return;
    }
    history[before + params.time % params.taps] = sample;
    var direct = k[kernel];
    if (HAS_SKIP) {
        direct += skip[row % params.channels];
    }
    var convolved = fma(direct, sample, sums[0]);
    if (HAS_POST) {
        convolved *= post_load(row);
    }
    y_store(row, convolved);
}
