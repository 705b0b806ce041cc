// One tap of a convolution as an array operation: adds what it sees to the sums of those before it.

struct Params {
    groups: u32, // rows x steps, by LANES
    total: u32,  // rows x steps
    channels: u32,
    length: u32, // steps in a row
    tap: u32,    // of which the first finds no sums
}

const LANES: u32 = 256;
const WIDTH: u32 = 4; // taps
const HAS_INITIAL: bool = true; // without, rows begin after zeros and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (channels, WIDTH)
@group(0) @binding(3) var<storage, read> initial: array<f32>; // (rows, WIDTH - 1)
@group(0) @binding(4) var<storage, read_write> sums: array<f32>; // (rows, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        let row = i / params.length;
        let input = input_before(row, i % params.length, params.tap);
        var sum = weight[row % params.channels * WIDTH + params.tap] * input;
        if (params.tap > 0u) {
            sum += sums[i];
        }
        sums[i] = sum;
    }
}
