// outputs[i] = scale x the sum over parts of parts[part, i], in the order of the parts: what workgroups summed side by side.

struct Params {
    groups: u32,
    length: u32, // elements of a part
    parts: u32,
}

const LANES: u32 = 128;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<parts_word>; // (parts, length)
@group(0) @binding(2) var<storage, read_write> outputs: array<outputs_word>; // (length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = (flat_group(group_id, group_counts) * LANES + lane) * 4u;
    if (i < params.length) {
        var sum = vec4<f32>();
        for (var part = 0u; part < params.parts; part++) {
            let start = part * params.length;
            sum += parts_load4(start + i, start + params.length);
        }
        outputs_store4(i, params.length, scale() * sum);
    }
}
