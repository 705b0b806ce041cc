// Adds what the splits of a sum left, in their order, so that the result repeats bit for bit. A lane takes four elements.

struct Params {
    groups: u32, // tiles of LANES x 4 elements
    splits: u32,
    elements: u32, // of a split
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<parts_word>; // (splits, elements)
@group(0) @binding(2) var<storage, read_write> sums: array<sums_word>; // (elements)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let at = (flat_group(group_id, group_counts) * LANES + lane) * 4u;
    if (at < params.elements) {
        var sum = vec4<f32>();
        for (var split = 0u; split < params.splits; split++) {
            let start = split * params.elements;
            sum += parts_load4(start + at, start + params.elements);
        }
        sums_store4(at, params.elements, sum);
    }
}
