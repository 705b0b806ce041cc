// A long convolution as a loop: one lane takes one sequence, a sample at a time. A dispatch takes some of the samples, since
// drivers end kernels that run for seconds, and a software one gives up loops of more than 65,535 turns. Backwards in time
// it gives the gradients of sequences and gates, with the gates exchanged.

struct Params {
    groups: u32,   // sequences, by LANES
    rows: u32,     // sequences
    channels: u32,
    length: u32,
    taps: u32,     // of a kernel
    first: u32,    // the samples of this dispatch, from this one
    end: u32,      // to before this one
}

const LANES: u32 = 64;
const HAS_SKIP: bool = true; // without, `skip` is not read
const HAS_PRE: bool = true; // without, `pre` is not read
const HAS_POST: bool = true; // without, `post` is not read
const REVERSED: bool = false; // the last sample comes first

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, channels, length)
@group(0) @binding(2) var<storage, read> k: array<f32>; // (channels, taps)
@group(0) @binding(3) var<storage, read> skip: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> pre: array<pre_word>; // (batch, channels, length)
@group(0) @binding(5) var<storage, read> post: array<post_word>; // (batch, channels, length)
@group(0) @binding(6) var<storage, read_write> y: array<y_word>; // (batch, channels, length)

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
    let kernel = row % params.channels * params.taps;
    for (var t = params.first; t < params.end; t++) {
        var sum = 0.0;
        for (var lag = 0u; lag <= min(t, params.taps - 1u); lag++) {
            sum = fma(k[kernel + lag], sample(row, t - lag), sum);
        }
        if (HAS_SKIP) {
            sum = fma(skip[row % params.channels], sample(row, t), sum);
        }
        let i = place(row, t);
        if (HAS_POST) {
            sum *= post_load(i);
        }
        y_store(i, sum);
    }
}

fn sample(row: u32, t: u32) -> f32 {
    let i = place(row, t);
    if (HAS_PRE) {
        return x_load(i) * pre_load(i);
    }
    return x_load(i);
}

fn place(row: u32, t: u32) -> u32 {
    return row * params.length + select(t, params.length - 1u - t, REVERSED);
}
