// The gate out = y silu(z) backward, in two passes of this kernel around that of y: first dy = dout silu(z), then, with
// y in the place of dy, dz = dout y silu'(z).

struct Params {
    groups: u32, // elements, by 4 LANES
    total: u32,
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dout: array<dout_word>; // (total)
@group(0) @binding(2) var<storage, read> z: array<z_word>; // (total)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = (flat_group(group_id, group_counts) * LANES + lane) * 4u;
    if (i < params.total) {
        pass_gate(i, dout_load4(i, params.total), z_load4(i, params.total));
    }
}
