// The gradient of a long convolution's kernels, of a slice of channels: sums the parts that batches of sequences gave, in
// their order, with what is there of batches before. That of the skip is the one at lag 0.

struct Params {
    groups: u32, // LANES elements each
    total: u32, // elements of the gradient
    lags: u32, // of each channel
    first_lag: u32,
    taps: u32, // of a kernel
    length: u32, // of a sequence: the parts have all its lags
    channels: u32, // of the slice
    parts: u32,
    first_channel: u32, // of the slice
    read_from: u32, // the element with which what is bound of the parts begins
    write_from: u32, // and of dk
    add: u32, // whether there are batches before
}

const LANES: u32 = 256;
const HAS_SKIP: bool = true; // without, `dskip` is not written

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>; // (parts, channels, length)
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
    let channel = i / params.lags;
    let lag = params.first_lag + i % params.lags;
    let at = (params.first_channel + channel) * params.taps + lag - params.write_from;
    var sum = 0.0;
    if (params.add != 0u) {
        sum = dk[at];
    }
    for (var part = 0u; part < params.parts; part++) {
        sum += parts[(part * params.channels + channel) * params.length + lag - params.read_from];
    }
    dk[at] = sum;
    if (HAS_SKIP && lag == 0u) {
        dskip[params.first_channel + channel] = sum;
    }
}
