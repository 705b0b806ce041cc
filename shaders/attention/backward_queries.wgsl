// The gradient of the queries. A workgroup takes a tile of queries of one head and goes over the keys that any of them
// sees, a tile at a time, as attention/forward does: scores and weights anew, their gradients from products of the output's
// gradient with the values, and sums of keys that these weight.

const HEAD_DIM: u32 = 64;
const VALUE_DIM: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (batch, q_len, heads, HEAD_DIM)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (batch, k_len, kv_heads, HEAD_DIM)
@group(0) @binding(3) var<storage, read> v: array<v_word>; // (batch, k_len, kv_heads, VALUE_DIM)
@group(0) @binding(4) var<storage, read> d_o: array<d_o_word>; // (batch, q_len, heads, VALUE_DIM)
@group(0) @binding(5) var<storage, read_write> d_q: array<d_q_word>; // (splits, batch, q_len, heads, HEAD_DIM)

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        attend(lane, find_task(group));
    }
}

fn attend(lane: Lane, task: Task) {
    let place = find_place(lane);
    var sums: K_Sums;
    var slopes: array<mat4x4<f32>, ROW_FOURS>;
    let visits = find_visits(task);
    let share = find_share(visits.count, task.split);
    for (var index = share.first; index < share.end; index++) {
        let visit = find_visit(task, visits, index);
        let dots = q_by_k(lane, place, task, visit.column);
        let values = d_o_by_v(lane, place, task, visit.column);
        let key = visit.column + place.column * 4u;
        for (var row = 0u; row < ROW_FOURS; row++) {
            let query = task.row + place.row + row * 4u;
            let gradients = find_gradients(dots[row], values[row], task, query, key, visit.whole);
            slopes[row] += gradients.slopes;
            stage_weights(place, row, gradients.dots);
        }
        add_weighted_k(lane, place, task, visit.column, !visit.whole, &sums);
    }
    var factors: array<vec4<f32>, ROW_FOURS>;
    for (var row = 0u; row < ROW_FOURS; row++) {
        factors[row] = vec4<f32>(params.scale / LOG2_E);
        store_slope_terms(lane, place, task, row, slopes[row]);
    }
    store_d_q(place, task, factors, &sums);
}
