// Last of the array operations of an unfused convolution: bias and activation; and the state after the last step.

struct Params {
    groups: u32, // rows x steps, by LANES
    total: u32,  // rows x steps
    channels: u32,
    length: u32, // steps in a row
}

const LANES: u32 = 256;
const WIDTH: u32 = 4; // taps
const SILU: bool = true;
const HAS_BIAS: bool = true; // without, `bias` is not read
const HAS_INITIAL: bool = true; // without, rows begin after zeros and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sums: array<f32>; // (rows, length)
@group(0) @binding(2) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(4) var<storage, read> initial: array<f32>; // (rows, WIDTH - 1)
@group(0) @binding(5) var<storage, read_write> y: array<y_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> last: array<f32>; // (rows, WIDTH - 1)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        activate(i, i / params.length);
    }
}

fn activate(i: u32, row: u32) {
    var sum = sums[i];
    if (HAS_BIAS) {
        sum += bias[row % params.channels];
    }
    if (SILU) {
        sum *= sigmoid(vec4<f32>(sum)).x;
    }
    y_store(place(row, i % params.length), sum);
    if (i % params.length == 0u) {
        for (var k = 0u; k < WIDTH - 1u; k++) {
            last[row * (WIDTH - 1u) + k] = input_before(row, params.length, k);
        }
    }
}
