// One doubling pass of an unfused linear scan (Hillis and Steele 1986): every step takes in the step `reach` before
// it, from one tensor into another.

struct Params {
    groups: u32, // rows x steps, by LANES
    length: u32, // steps in a row
    total: u32,  // rows x steps
    reach: u32,
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> before: array<vec2<f32>>; // (rows, length)
@group(0) @binding(2) var<storage, read_write> after: array<vec2<f32>>; // (rows, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        var pair = before[i];
        if (i % params.length >= params.reach) {
            pair = compose(before[i - params.reach], pair);
        }
        after[i] = pair;
    }
}
