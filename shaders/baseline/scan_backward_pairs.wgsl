// First of the array operations of a linear scan's gradients: what each step does to the gradient that comes from behind,
// as pairs in f32. Rows are turned around, so that the doubling passes of the scan itself can follow.

struct Params {
    groups: u32, // rows x steps, by LANES
    length: u32, // steps in a row
    total: u32,  // rows x steps
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<a_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> dh: array<dh_word>; // (rows, length)
@group(0) @binding(3) var<storage, read_write> pairs: array<vec2<f32>>; // (rows, length), the last step first

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        // Behind the last step there is nothing.
        var factor = 0.0;
        if ((i + 1u) % params.length > 0u) {
            factor = a_load(i + 1u);
        }
        let row = i / params.length * params.length;
        pairs[row + params.length - 1u - (i - row)] = vec2<f32>(factor, dh_load(i));
    }
}
