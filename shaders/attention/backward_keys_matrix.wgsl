// The gradients of keys and values on matrix units: the same pass as attention/backward_keys. A subgroup takes SIDE keys, and
// leaves its products turned: what is a lane's row in workgroup memory is there that of a query, so that gradients are found
// by queries, and the matrices of weights are turned back as they are read.

const HEAD_DIM: u32 = 64;
const VALUE_DIM: u32 = 64;

// Matrices that a key is wide, and a value; a lane's fours of a line; its fours of the queries and gradients of a tile.
const q0 = 0u; // each q
const o0 = 0u; // each o
const s0 = 0u; // each s
const t0 = 0u; // each t
const u0 = 0u; // each u

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
    let table = matrix_place(place, 0u, 0u);
    let weights_at = left_place(place, 0u, 0u);
    let heads = params.heads / params.kv_heads;
    var task = key_task;
    task.head = key_task.head * heads;
    if (place.rank == 0u) {
        forget_wild();
    }
    var key_q0: Left; // each q
    { // each q
        stage_k_rows(task, place, q0 * SIDE_FOURS);
        sync_subgroup();
        key_q0 = coopLoadT<Left>(&left[weights_at], LEFT_STRIDE);
        sync_subgroup();
    }
    var value_o0: Left; // each o
    { // each o
        stage_v_rows(task, place, o0 * SIDE_FOURS);
        sync_subgroup();
        value_o0 = coopLoadT<Left>(&left[weights_at], LEFT_STRIDE);
        sync_subgroup();
    }
    var key_sum_q0: Sum; // each q
    var value_sum_o0: Sum; // each o
    workgroupBarrier();
    let all = find_head_shares(task, heads);
    var passed = 0u;
    for (var n = 0u; n < heads; n++) {
        let visits = find_visits(task);
        let share = find_head_share(all, passed, visits.count);
        var next = find_shared_visit(task, visits, share, share.first);
        var query_t0 = fetch_q(task, place, next.column, t0); // each t
        var gradient_u0 = fetch_d_o(task, place, next.column, u0); // each u
        for (var index = share.first; index < share.end; index++) {
            let visit = next;
            let tile = passed + index + 1u;
            stage_q(place, t0, query_t0); // each t
            stage_d_o(place, u0, gradient_u0); // each u
            note_wild(tile, visit, (t0 * LANES + place.rank) / Q_FOURS, query_t0); // each t
            note_wild(tile, visit, (u0 * LANES + place.rank) / D_O_FOURS, gradient_u0); // each u
            workgroupBarrier();
            next = find_shared_visit(task, visits, share, index + 1u);
            query_t0 = fetch_q(task, place, next.column, t0); // each t
            gradient_u0 = fetch_d_o(task, place, next.column, u0); // each u
            var dots = Sum();
            { // each q
                let query = coopLoad<Right>(&q_tile[q0 * SIDE_FOURS], Q_STRIDE);
                dots = coopMultiplyAdd(key_q0, query, dots);
            }
            coopStore(dots, &sums[table], SUM_STRIDE);
            sync_subgroup();
            let dots_s0 = products4(place, s0); // each s
            sync_subgroup();
            var products = Sum();
            { // each o
                let gradient = coopLoad<Right>(&d_o_tile[o0 * SIDE_FOURS], D_O_STRIDE);
                products = coopMultiplyAdd(value_o0, gradient, products);
            }
            coopStore(products, &sums[table], SUM_STRIDE);
            sync_subgroup();
            let column = place.row - place.first;
            let query = visit.column + column;
            var gradients_s0: vec4<f32>; // each s
            { // each s
                let key = task.row + place.first + lane_four(place, s0) * 4u;
                let found = row_gradients(dots_s0, products4(place, s0), task, query, key, visit.whole);
                var weights = found.weights;
                gradients_s0 = found.dots;
                if (is_wild(tile)) {
                    weights = wild_weights(tile, weights, vec4<u32>(wild_columns[column]));
                    gradients_s0 = wild_weights(tile, gradients_s0, vec4<u32>(wild_columns[column]));
                }
                stage_weights4(place, s0, weights);
            }
            sync_subgroup();
            if (is_wild(tile)) {
                workgroupBarrier();
                tame_q(place, t0); // each t
                tame_d_o(place, u0); // each u
                workgroupBarrier();
            }
            let weight = coopLoad<Left>(&left[weights_at], LEFT_STRIDE);
            { // each o
                let gradient = coopLoadT<Right>(&d_o_tile[o0 * SIDE_FOURS], D_O_STRIDE);
                value_sum_o0 = coopMultiplyAdd(weight, gradient, value_sum_o0);
            }
            sync_subgroup();
            stage_weights4(place, s0, gradients_s0); // each s
            sync_subgroup();
            let key_weight = coopLoad<Left>(&left[weights_at], LEFT_STRIDE);
            { // each q
                let query = coopLoadT<Right>(&q_tile[q0 * SIDE_FOURS], Q_STRIDE);
                key_sum_q0 = coopMultiplyAdd(key_weight, query, key_sum_q0);
            }
            // The next tile takes the place of this one.
            workgroupBarrier();
        }
        passed += visits.count;
        task.head += 1u;
    }
    // The place of the sums is that of the key head.
    task.head -= heads;
    { // each q
        sync_subgroup();
        coopStoreT(key_sum_q0, &sums[table], SUM_STRIDE);
        sync_subgroup();
        store_d_k_columns(task, place, q0 * SIDE_FOURS, params.scale / LOG2_E);
    }
    { // each o
        sync_subgroup();
        coopStoreT(value_sum_o0, &sums[table], SUM_STRIDE);
        sync_subgroup();
        store_d_v_columns(task, place, o0 * SIDE_FOURS, keep_factor());
    }
}
