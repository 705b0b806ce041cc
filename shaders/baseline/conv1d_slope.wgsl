// Of the array operations of an unfused convolution's gradients: those of the sums before the activation, in their place.

struct Params {
    groups: u32, // rows x steps, by LANES
    total: u32,  // rows x steps
    channels: u32,
    length: u32, // steps in a row
}

const LANES: u32 = 256;
const SILU: bool = true; // without, `sums` are not read
const HAS_BIAS: bool = true; // without, `bias` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<dy_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // (rows, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        var gradient = dy_load(i);
        if (SILU) {
            var sum = sums[i];
            if (HAS_BIAS) {
                sum += bias[i / params.length % params.channels];
            }
            gradient *= silu_slope(vec4<f32>(sum)).x;
        }
        sums[i] = gradient;
    }
}
