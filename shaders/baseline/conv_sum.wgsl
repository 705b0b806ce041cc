// The gradients of kernels: what the transforms of sequences with their gradients backwards in time give, summed over
// batches. That of a lag lies as far from a sequence's end.

struct Params {
    groups: u32, // LANES lags each
    total: u32, // lags of all kernels
    taps: u32, // of a kernel
    length: u32, // samples of a row
    channels: u32,
    batch: u32,
    points: u32, // numbers of a row
}

const LANES: u32 = 256;
const HAS_SKIP: bool = true; // without, `dskip` is not written

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> numbers: array<vec2<f32>>; // (batch, channels, points)
@group(0) @binding(2) var<storage, read_write> dk: array<f32>; // (channels, taps)
@group(0) @binding(3) var<storage, read_write> dskip: array<f32>; // (channels)

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
    let channel = i / params.taps;
    let lag = i % params.taps;
    let t = params.length - 1u - lag;
    var sum = 0.0;
    for (var b = 0u; b < params.batch; b++) {
        sum += numbers[(b * params.channels + channel) * params.points + t / 2u][t % 2u];
    }
    dk[i] = sum / f32(params.points);
    if (HAS_SKIP && lag == 0u) {
        dskip[channel] = sum / f32(params.points);
    }
}
