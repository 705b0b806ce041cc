// The gradient of the queries on matrix units: the same pass as attention/backward_queries. A subgroup takes SIDE queries, and
// its products go to the lanes and back through workgroup memory (attention/matrix_tile, attention/matrix_wild).

const HEAD_DIM: u32 = 64;
const VALUE_DIM: u32 = 64;

// Matrices that a query is wide, and a value; a lane's fours of a line; its fours of the keys and values of a tile.
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
    let row = task.row + place.row;
    let table = matrix_place(place, 0u, 0u);
    let visits = find_visits(task);
    let share = find_share(visits.count, task.split);
    if (place.rank == 0u) {
        forget_wild();
    }
    var query_q0: Left; // each q
    { // each q
        stage_q_rows(task, place, q0 * SIDE_FOURS);
        sync_subgroup();
        query_q0 = coopLoadT<Left>(&left[left_place(place, 0u, 0u)], LEFT_STRIDE);
        sync_subgroup();
    }
    var gradient_o0: Left; // each o
    { // each o
        stage_d_o_rows(task, place, o0 * SIDE_FOURS);
        sync_subgroup();
        gradient_o0 = coopLoadT<Left>(&left[left_place(place, 0u, 0u)], LEFT_STRIDE);
        sync_subgroup();
    }
    var sum_q0: Sum; // each q
    var slope: vec4<f32>;
    var next = find_shared_visit(task, visits, share, share.first);
    var key_t0 = fetch_k(task, place, next.column, t0); // each t
    var value_u0 = fetch_v(task, place, next.column, u0); // each u
    workgroupBarrier();
    for (var index = share.first; index < share.end; index++) {
        let visit = next;
        let tile = index + 1u;
        stage_k(place, t0, key_t0); // each t
        stage_v(place, u0, value_u0); // each u
        note_wild(tile, visit, (t0 * LANES + place.rank) / K_FOURS, key_t0); // each t
        workgroupBarrier();
        next = find_shared_visit(task, visits, share, index + 1u);
        key_t0 = fetch_k(task, place, next.column, t0); // each t
        value_u0 = fetch_v(task, place, next.column, u0); // each u
        var dots = Sum();
        { // each q
            let key = coopLoad<Right>(&k_tile[q0 * SIDE_FOURS], K_STRIDE);
            dots = coopMultiplyAdd(query_q0, key, dots);
        }
        coopStoreT(dots, &sums[table], SUM_STRIDE);
        sync_subgroup();
        let dots_s0 = products4(place, s0); // each s
        sync_subgroup();
        var products = Sum();
        { // each o
            let value = coopLoad<Right>(&v_tile[o0 * SIDE_FOURS], V_STRIDE);
            products = coopMultiplyAdd(gradient_o0, value, products);
        }
        coopStoreT(products, &sums[table], SUM_STRIDE);
        sync_subgroup();
        { // each s
            let key = lane_four(place, s0) * 4u;
            let found = row_gradients(dots_s0, products4(place, s0), task, row, visit.column + key, visit.whole);
            slope += found.slope;
            var weights = found.dots;
            if (is_wild(tile)) {
                weights = wild_weights(tile, weights, wild_columns4(key));
            }
            stage_weights4(place, s0, weights);
        }
        sync_subgroup();
        if (is_wild(tile)) {
            workgroupBarrier();
            tame_k(place, t0); // each t
            workgroupBarrier();
        }
        let weight = coopLoadT<Left>(&left[left_place(place, 0u, 0u)], LEFT_STRIDE);
        { // each q
            let key = coopLoadT<Right>(&k_tile[q0 * SIDE_FOURS], K_STRIDE);
            sum_q0 = coopMultiplyAdd(weight, key, sum_q0);
        }
        // The next tile takes the place of this one.
        workgroupBarrier();
    }
    { // each q
        sync_subgroup();
        coopStoreT(sum_q0, &sums[table], SUM_STRIDE);
        sync_subgroup();
        store_d_q_columns(task, place, q0 * SIDE_FOURS, params.scale / LOG2_E);
    }
    slope = row_total(slope);
    if (place.part == 0u) {
        store_slope_term(task, row, slope);
    }
}
