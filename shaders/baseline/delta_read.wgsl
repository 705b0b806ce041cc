// Last of the array operations of a step of the delta rule: what states hold under the query. A lane takes a row.

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>;
@group(0) @binding(2) var<storage, read> states: array<f32>; // (rows, STATES)
@group(0) @binding(3) var<storage, read_write> o: array<o_word>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts) * LANES + lane;
    if (row < params.rows) {
        var result = 0.0;
        for (var n = 0u; n < STATES; n++) {
            result = fma(states[row * STATES + n], q_load(place_b(row, n, params.first)), result);
        }
        o_store(place_x(row, params.first), params.scale * result);
    }
}
