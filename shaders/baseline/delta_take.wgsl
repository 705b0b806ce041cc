// First of the array operations of a step of the delta rule: what each row of a state takes in, from what it holds under the
// key. A lane takes a row.

const LANES: u32 = 256;
const GATED: bool = true; // without, `g` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<v_word>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<k_word>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;
@group(0) @binding(5) var<storage, read> states: array<f32>; // (rows, STATES)
@group(0) @binding(6) var<storage, read_write> taken: array<f32>; // (rows)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts) * LANES + lane;
    if (row < params.rows) {
        let t = params.first;
        var held = 0.0;
        for (var n = 0u; n < STATES; n++) {
            held = fma(states[row * STATES + n], k_load(place_b(row, n, t)), held);
        }
        taken[row] = beta[place_head(row, t)] * (v_load(place_x(row, t)) - decay_of(row, t) * held);
    }
}
