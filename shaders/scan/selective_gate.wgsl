// The gate out = y silu(z) backward, for a slice of a selective scan, in two passes of this kernel around that of y: first
// dy = dout silu(z), then, with y in the place of dy, dz = dout y silu'(z).

struct Params {
    groups: u32,    // fours of steps of the slice, by LANES
    total: u32,     // the same
    fours: u32,     // in a row
    length: u32,    // steps in a row
    first_row: u32, // the slice's first row
    first: u32,     // and its first step
    steps: u32,     // its steps in a row
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dout: array<dout_word>; // (batch, channels, length)
@group(0) @binding(2) var<storage, read> z: array<z_word>; // (batch, channels, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let four = flat_group(group_id, group_counts) * LANES + lane;
    if (four < params.total) {
        let first = (params.first_row + four / params.fours) * params.length + params.first;
        let i = first + four % params.fours * 4u;
        let end = first + params.steps;
        pass_gate(four, i, end, dout_load4(i, end), z_load4(i, end));
    }
}
