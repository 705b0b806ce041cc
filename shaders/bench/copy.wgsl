// Copies a buffer: what this adapter's memory gives, bytes read and bytes written together.

struct Params {
    groups: u32, // vectors, by LANES x ITEMS
    vectors: u32,
}

const LANES: u32 = 256;
const ITEMS: u32 = 4; // vectors a lane

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<vec4<f32>>; // (vectors)
@group(0) @binding(2) var<storage, read_write> copy: array<vec4<f32>>; // (vectors)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let first = flat_group(group_id, group_counts) * LANES * ITEMS + lane;
    for (var item = 0u; item < ITEMS; item++) {
        let i = first + item * LANES;
        if (i < params.vectors) {
            copy[i] = source[i];
        }
    }
}
