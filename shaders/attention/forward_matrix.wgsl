// Attention, forward, on matrix units: the same pass as attention/forward, with both products done by cooperative matrices
// of f16 factors and f32 sums. A subgroup takes as many queries as it has lanes, or half as many, and one lane or two do the
// softmax of each.
//
// Scores go to the lanes through workgroup memory, and weights back the same way (attention/matrix_tile). The output stays in
// matrices from tile to tile. It is brought to a new measure, which takes that way too, only when
// the largest score of some row has grown by more than SLACK: up to there weights fit f16, and the sums that they are
// divided by at the end have grown alike.
//
// A tile of keys and values is on its way from device memory while the one before it is worked on (attention/matrix_columns).

const HEAD_DIM: u32 = 64;
const VALUE_DIM: u32 = 64;

// Matrices of a subgroup: its rows are r high, queries are q wide, values and outputs o, and a tile of keys is c wide.
const r0 = 0u; // each r
const q0 = 0u; // each q
const o0 = 0u; // each o
const c0 = 0u; // each c
// Fours of a lane's scores. In an array they would leave the registers whenever a compiler does not unroll its loops.
const s0 = 0u; // each s
// Fours of keys and of values that a lane stages of a tile.
const t0 = 0u; // each t
const u0 = 0u; // each u

const SLACK = 8.0;
const LEAST_WEIGHT = 1e-7;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (batch, q_len, heads, HEAD_DIM)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (batch, k_len, kv_heads, HEAD_DIM)
@group(0) @binding(3) var<storage, read> v: array<v_word>; // (batch, k_len, kv_heads, VALUE_DIM)
@group(0) @binding(4) var<storage, read_write> o: array<o_word>; // (splits, batch, q_len, heads, VALUE_DIM)
@group(0) @binding(5) var<storage, read_write> lse: array<f32>; // (splits, batch, heads, q_len)

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
    let visits = find_visits(task);
    let share = find_share(visits.count, task.split);
    if (place.rank == 0u) {
        wild = vec4<u32>();
        expect_growth();
    }
    var query_q0_r0: Left; // each q r
    { // each q
        stage_q_rows(task, place, q0 * SIDE_FOURS);
        sync_subgroup();
        query_q0_r0 = coopLoadT<Left>(&left[left_place(place, r0, 0u)], LEFT_STRIDE); // each r
        sync_subgroup();
    }
    var output_o0_r0: Sum; // each o r
    var softmax = begin_softmax(task, task.row + place.row, place.part == 0u);
    var next = find_shared_visit(task, visits, share, share.first);
    var key_t0 = fetch_k(task, place, next.column, t0); // each t
    var value_u0 = fetch_v(task, place, next.column, u0); // each u
    workgroupBarrier();
    for (var index = share.first; index < share.end; index++) {
        let visit = next;
        stage_k(place, t0, key_t0); // each t
        stage_v(place, u0, tame(visit, value_u0)); // each u
        workgroupBarrier();
        next = find_shared_visit(task, visits, share, index + 1u);
        key_t0 = fetch_k(task, place, next.column, t0); // each t
        value_u0 = fetch_v(task, place, next.column, u0); // each u
        var dots_c0_r0 = Sum(); // each c r
        { // each q
            { // each c
                let key = coopLoad<Right>(&k_tile[c0 * SIDE * K_STRIDE + q0 * SIDE_FOURS], K_STRIDE);
                dots_c0_r0 = coopMultiplyAdd(query_q0_r0, key, dots_c0_r0); // each r
            }
        }
        coopStoreT(dots_c0_r0, &sums[matrix_place(place, r0, c0)], SUM_STRIDE); // each c r
        sync_subgroup();
        let scores_s0 = scores_of(task, place, visit, s0); // each s
        var largest4 = vec4<f32>(HIDDEN);
        largest4 = max(largest4, scores_s0); // each s
        let largest = max(max(largest4.x, largest4.y), max(largest4.z, largest4.w));
        if (any_grows(largest > softmax.measure + SLACK, place.rank)) {
            let measure = max(softmax.measure, row_largest(largest));
            let fade = exp2(softmax.measure - measure);
            softmax = Softmax(measure, softmax.total * fade);
            { // each o
                coopStoreT(output_o0_r0, &sums[matrix_place(place, r0, 0u)], SUM_STRIDE); // each r
                sync_subgroup();
                scale_output(place, fade);
                sync_subgroup();
                output_o0_r0 = coopLoadT<Sum>(&sums[matrix_place(place, r0, 0u)], SUM_STRIDE); // each r
                sync_subgroup();
            }
        }
        var total4 = vec4<f32>();
        { // each s
            let weights = weights_of(scores_s0, softmax);
            total4 += weights;
            stage_weights4(place, s0, kept(weights, task, task.row + place.row, visit.column + lane_four(place, s0) * 4u));
        }
        softmax.total += (total4.x + total4.y) + (total4.z + total4.w);
        sync_subgroup();
        { // each c
            let weight_r0 = coopLoadT<Left>(&left[left_place(place, r0, c0)], LEFT_STRIDE); // each r
            { // each o
                let value = coopLoadT<Right>(&v_tile[c0 * SIDE * V_STRIDE + o0 * SIDE_FOURS], V_STRIDE);
                output_o0_r0 = coopMultiplyAdd(weight_r0, value, output_o0_r0); // each r
            }
        }
        // The next tile takes the place of this one.
        workgroupBarrier();
    }
    softmax.total = row_total(vec4<f32>(softmax.total)).x;
    if (place.part == 0u) {
        store_softmax(task, task.row + place.row, softmax);
    }
    let factor = output_factor(task, softmax);
    { // each o
        sync_subgroup();
        coopStoreT(output_o0_r0, &sums[matrix_place(place, r0, 0u)], SUM_STRIDE); // each r
        sync_subgroup();
        if (any(wild > vec4<u32>())) {
            add_wild(task, place, o0 * SIDE_FOURS, visits, share, softmax);
        }
        store_o_columns(task, place, o0 * SIDE_FOURS, factor);
    }
}

// Where some row may have no weight for an infinite value, 0 stands for it, and `add_wild` adds it in the end to those rows
// that do.
fn tame(visit: Visit, four: vec4<f16>) -> vec4<f16> {
    if (is_partial(visit)) {
        let odd = is_nan_or_infinite(vec4<f32>(four));
        if (any(odd)) {
            wild = vec4<u32>(1u);
            return select(four, vec4<f16>(), odd);
        }
    }
    return four;
}

// Four scores of the lane's row, from the dot products in `sums`.
fn scores_of(task: Task, place: Place, visit: Visit, turn: u32) -> vec4<f32> {
    let dots = products4(place, turn);
    let key = visit.column + lane_four(place, turn) * 4u;
    // What is minus infinity needs no bound here: the measure has one.
    if (visit.whole && !MODIFIED) {
        return built_in(dots, task, task.row + place.row, key);
    }
    return finish_row(dots, task, task.row + place.row, key, visit.whole);
}

// The weights of four keys.
fn weights_of(scores: vec4<f32>, softmax: Softmax) -> vec4<f32> {
    return exp2(scores - base_of(softmax.measure));
}

// A row's largest score, of what its lanes have.
fn row_largest(largest: f32) -> f32 {
    if (ROW_LANES == 2u) {
        return max(largest, subgroupShuffleXor(largest, SUBGROUP_ROWS));
    }
    return largest;
}

// Multiplies SIDE columns of the lane's output, which are in `sums`.
fn scale_output(place: Place, factor: f32) {
    for (var four = place.part; four < SIDE_FOURS; four += ROW_LANES) {
        sums[place.row * SUM_STRIDE + four] *= factor;
    }
}

// Adds to SIDE columns of the lane's output, which are in `sums`, the values that `tame` left out. That is rare, and takes
// its time: scores are computed again, one lane for itself.
fn add_wild(task: Task, place: Place, first: u32, visits: Visits, share: Share, softmax: Softmax) {
    for (var index = share.first; index < share.end; index++) {
        let visit = find_visit(task, visits, index);
        for (var four = 0u; four < COLUMN_FOURS; four++) {
            if (is_partial(visit)) {
                let key = visit.column + four * 4u;
                add_wild_keys(place, task, first, key, wild_weights(task, place, key, softmax));
            }
        }
    }
}

fn add_wild_keys(place: Place, task: Task, first: u32, key: u32, weights: vec4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        for (var four = place.part; four < SIDE_FOURS; four += ROW_LANES) {
            let value = v_four(task, key + n, (first + four) * 4u);
            if (weights[n] > 0.0) {
                sums[place.row * SUM_STRIDE + four] += select(vec4<f32>(), weights[n] * value, is_nan_or_infinite(value));
            }
        }
    }
}

// The weights of four keys for the lane's row. What is infinite is so with the smallest weight, but not where it is not
// seen.
fn wild_weights(task: Task, place: Place, key: u32, softmax: Softmax) -> vec4<f32> {
    let row = task.row + place.row;
    var dots: vec4<f32>;
    for (var column = 0u; column < HEAD_DIM; column += 4u) {
        let query = q_four(task, row, column);
        for (var n = 0u; n < 4u; n++) {
            dots[n] += dot(query, k_four(task, key + n, column));
        }
    }
    let scores = finish_row(dots, task, row, key, false);
    let weights = max(weights_of(scores, softmax), vec4<f32>(LEAST_WEIGHT));
    return kept(select(weights, vec4<f32>(), is_hidden(scores)), task, row, key);
}
