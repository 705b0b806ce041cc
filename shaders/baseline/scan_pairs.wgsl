// First of the array operations of an unfused linear scan: pairs (a, b) of every step, in f32.

struct Params {
    groups: u32, // rows x steps, by 4 LANES
    total: u32,  // rows x steps
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<a_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> b: array<b_word>; // (rows, length)
@group(0) @binding(3) var<storage, read_write> pairs: array<vec2<f32>>; // (rows, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let start = 4u * (flat_group(group_id, group_counts) * LANES + lane);
    let a4 = a_load4(start, params.total);
    let b4 = b_load4(start, params.total);
    for (var n = 0u; n < 4u; n++) {
        if (start + n < params.total) {
            pairs[start + n] = vec2<f32>(a4[n], b4[n]);
        }
    }
}
