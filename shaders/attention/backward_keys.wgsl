// The gradients of keys and values. A workgroup takes a tile of keys of one key head and goes over the queries that see
// any of them, of all query heads that share it, a tile at a time. Tiles lie the other way round than in
// attention/backward_queries: rows are keys and columns queries.

const HEAD_DIM: u32 = 64;
const VALUE_DIM: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (batch, q_len, heads, HEAD_DIM)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (batch, k_len, kv_heads, HEAD_DIM)
@group(0) @binding(3) var<storage, read> v: array<v_word>; // (batch, k_len, kv_heads, VALUE_DIM)
@group(0) @binding(4) var<storage, read> d_o: array<d_o_word>; // (batch, q_len, heads, VALUE_DIM)
@group(0) @binding(5) var<storage, read_write> d_k: array<d_k_word>; // (splits, batch, k_len, kv_heads, HEAD_DIM)
@group(0) @binding(6) var<storage, read_write> d_v: array<d_v_word>; // (splits, batch, k_len, kv_heads, VALUE_DIM)

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

fn attend(lane: Lane, key_task: Task) {
    let place = find_place(lane);
    let heads = params.heads / params.kv_heads;
    var task = key_task;
    task.head = key_task.head * heads;
    let all = find_head_shares(task, heads);
    var key_sums: Q_Sums;
    var value_sums: D_O_Sums;
    var passed = 0u;
    for (var n = 0u; n < heads; n++) {
        let visits = find_visits(task);
        let share = find_head_share(all, passed, visits.count);
        for (var index = share.first; index < share.end; index++) {
            let visit = find_visit(task, visits, index);
            attend_to(lane, place, task, visit, &key_sums, &value_sums);
        }
        passed += visits.count;
        task.head += 1u;
    }
    // The place of the sums is that of the key head.
    task.head -= heads;
    var factors: array<vec4<f32>, ROW_FOURS>;
    for (var row = 0u; row < ROW_FOURS; row++) {
        factors[row] = vec4<f32>(params.scale / LOG2_E);
    }
    store_d_k(place, task, factors, &key_sums);
    for (var row = 0u; row < ROW_FOURS; row++) {
        factors[row] = vec4<f32>(keep_factor());
    }
    store_d_v(place, task, factors, &value_sums);
}

fn attend_to(
    lane: Lane,
    place: Place,
    task: Task,
    visit: Visit,
    key_sums: ptr<function, Q_Sums>,
    value_sums: ptr<function, D_O_Sums>,
) {
    let dots = k_by_q(lane, place, task, visit.column);
    let values = v_by_d_o(lane, place, task, visit.column);
    let query = visit.column + place.column * 4u;
    var gradients: Scores;
    for (var row = 0u; row < ROW_FOURS; row++) {
        let key = task.row + place.row + row * 4u;
        // Scores are finished and masked by queries.
        let by_query = find_gradients(transpose(dots[row]), transpose(values[row]), task, query, key, visit.whole);
        gradients[row] = transpose(by_query.dots);
        stage_weights(place, row, transpose(by_query.weights));
    }
    add_weighted_d_o(lane, place, task, visit.column, !visit.whole, value_sums);
    for (var row = 0u; row < ROW_FOURS; row++) {
        stage_weights(place, row, gradients[row]);
    }
    add_weighted_q(lane, place, task, visit.column, !visit.whole, key_sums);
}
