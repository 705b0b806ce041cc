// First of the array operations of an unfused recurrence: what each of some steps does to each state, as a pair of factor
// and term, in f32.

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>;
@group(0) @binding(2) var<storage, read> dt: array<dt_word>;
@group(0) @binding(3) var<storage, read> b: array<b_word>;
@group(0) @binding(4) var<storage, read> packed: array<f32>;
@group(0) @binding(5) var<storage, read_write> pairs: array<vec2<f32>>; // (rows, STATES, steps)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    let steps = params.end - params.first;
    if (i < params.rows * STATES * steps) {
        let t = params.first + i % steps;
        let n = i / steps % STATES;
        let row = i / steps / STATES;
        let size = step_size(row, t);
        let term = weight(size) * x_load(place_x(row, t)) * b_load(place_b(row, n, t));
        pairs[i] = vec2<f32>(decay(row, n, t, size), term);
    }
}
