// Of the array operations of an unfused recurrence's gradients: what each of some steps, from the last to the first, does to
// the gradients of states, as pairs of factor and term. The last step's factor is that of what comes from behind.

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dt: array<dt_word>;
@group(0) @binding(2) var<storage, read> c: array<c_word>;
@group(0) @binding(3) var<storage, read> packed: array<f32>;
@group(0) @binding(4) var<storage, read> work: array<f32>;
@group(0) @binding(5) var<storage, read_write> pairs: array<vec2<f32>>; // (rows, STATES, steps), the last step first

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    let steps = params.end - params.first;
    if (i < params.rows * STATES * steps) {
        let t = params.end - 1u - i % steps;
        let n = i / steps % STATES;
        let row = i / steps / STATES;
        var factor = 1.0;
        if (t + 1u < params.end) {
            factor = decay(row, n, t + 1u, step_size(row, t + 1u));
        }
        let term = params.scale * c_load(place_b(row, n, t)) * work[ungated_gradient(row, t)];
        pairs[i] = vec2<f32>(factor, term);
    }
}
