// The gradients of a long convolution's kernels as a loop: one lane takes one channel, a lag at a time, and sums over all
// samples of all batches. A dispatch takes some of the lags.

struct Params {
    groups: u32,   // channels, by LANES
    batch: u32,
    channels: u32,
    length: u32,
    taps: u32,     // of a kernel
    first: u32,    // the lags of this dispatch, from this one
    end: u32,      // to before this one
}

const LANES: u32 = 64;
const HAS_SKIP: bool = true; // without, `dskip` is not written
const HAS_PRE: bool = true; // without, `pre` is not read
const HAS_POST: bool = true; // without, `post` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, channels, length)
@group(0) @binding(2) var<storage, read> pre: array<pre_word>; // (batch, channels, length)
@group(0) @binding(3) var<storage, read> dy: array<dy_word>; // (batch, channels, length)
@group(0) @binding(4) var<storage, read> post: array<post_word>; // (batch, channels, length)
@group(0) @binding(5) var<storage, read_write> dk: array<f32>; // (channels, taps)
@group(0) @binding(6) var<storage, read_write> dskip: array<f32>; // (channels)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let channel = flat_group(group_id, group_counts) * LANES + lane;
    if (channel < params.channels) {
        for (var lag = params.first; lag < params.end; lag++) {
            let sum = sum_products(channel, lag);
            dk[channel * params.taps + lag] = sum;
            if (HAS_SKIP && lag == 0u) {
                dskip[channel] = sum;
            }
        }
    }
}

fn sum_products(channel: u32, lag: u32) -> f32 {
    var sum = 0.0;
    for (var b = 0u; b < params.batch; b++) {
        let first = (b * params.channels + channel) * params.length;
        for (var t = lag; t < params.length; t++) {
            sum = fma(gradient(first + t), sample(first + t - lag), sum);
        }
    }
    return sum;
}

fn gradient(i: u32) -> f32 {
    if (HAS_POST) {
        return dy_load(i) * post_load(i);
    }
    return dy_load(i);
}

fn sample(i: u32) -> f32 {
    if (HAS_PRE) {
        return x_load(i) * pre_load(i);
    }
    return x_load(i);
}
