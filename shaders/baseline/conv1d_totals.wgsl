// Of the array operations of an unfused convolution's gradients: what each row adds to those of its taps and of its bias, a
// sum over its steps for each. A workgroup takes one of them.

struct Params {
    groups: u32, // rows x (WIDTH + 1)
    rows: u32,
    channels: u32,
    length: u32, // steps in a row
}

const LANES: u32 = 64;
const WIDTH: u32 = 4; // taps
const HAS_INITIAL: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> initial: array<f32>; // not read: rows begin after zeros
@group(0) @binding(3) var<storage, read> dsums: array<f32>; // (rows, length)
@group(0) @binding(4) var<storage, read_write> parts: array<f32>; // (rows, WIDTH) of taps, then (rows) of biases

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    let of_taps = group < params.rows * WIDTH;
    let row = select(group - min(group, params.rows * WIDTH), group / WIDTH, of_taps);
    var sum = 0.0;
    if (group < params.groups) {
        for (var t = lane; t < params.length; t += LANES) {
            var input = 1.0;
            if (of_taps) {
                input = input_before(row, t, group % WIDTH);
            }
            sum = fma(dsums[row * params.length + t], input, sum);
        }
    }
    sums[lane] = sum;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            sums[lane] += sums[lane + half];
        }
    }
    if (lane == 0u && group < params.groups) {
        parts[group] = sums[0];
    }
}
