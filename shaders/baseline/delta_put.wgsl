// Second of the array operations of a step of the delta rule: states decay, and hold what was taken in under the key. A lane
// takes a number.

const LANES: u32 = 256;
const GATED: bool = true; // without, `g` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<k_word>;
@group(0) @binding(3) var<storage, read> taken: array<f32>; // (rows)
@group(0) @binding(4) var<storage, read_write> states: array<f32>; // (rows, STATES)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    let row = i / STATES;
    if (row < params.rows) {
        let t = params.first;
        states[i] = fma(taken[row], k_load(place_b(row, i % STATES, t)), decay_of(row, t) * states[i]);
    }
}
