// Attention, forward, with the online softmax of FlashAttention-2 (Dao 2023). A workgroup takes a tile of queries of
// one head and goes over the keys that any of them sees, a tile at a time: scores, their running maximum and sum, and
// the output so far, rescaled when the maximum grows. Scores never leave the workgroup.
//
// Where there are few queries or very many keys, the keys are split among workgroups, and each split leaves an output and
// a log-sum-exp of its own; attention/combine puts them together.

const HEAD_DIM: u32 = 64;
const VALUE_DIM: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (batch, q_len, heads, HEAD_DIM)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (batch, k_len, kv_heads, HEAD_DIM)
@group(0) @binding(3) var<storage, read> v: array<v_word>; // (batch, k_len, kv_heads, VALUE_DIM)
@group(0) @binding(4) var<storage, read_write> o: array<o_word>; // (splits, batch, q_len, heads, VALUE_DIM)
@group(0) @binding(5) var<storage, read_write> lse: array<f32>; // (splits, batch, heads, q_len)

// The online softmax so far, for the rows of a lane. Its totals are the lane's share until the end.
struct Softmax {
    largest: array<vec4<f32>, ROW_FOURS>, // score of the row
    total: array<vec4<f32>, ROW_FOURS>,   // of the exponentials of this lane's own columns
}

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
    hold_q(lane, task);
    var output: V_Sums;
    var softmax = begin_softmax(place, task);
    let visits = find_visits(task);
    let share = find_share(visits.count, task.split);
    for (var index = share.first; index < share.end; index++) {
        let visit = find_visit(task, visits, index);
        var scores = q_by_k(lane, place, task, visit.column);
        let key = visit.column + place.column * 4u;
        for (var row = 0u; row < ROW_FOURS; row++) {
            scores[row] = finish_scores(scores[row], task, task.row + place.row + row * 4u, key, visit.whole);
        }
        update_softmax(lane, place, task, key, &scores, &softmax, &output);
        add_weighted_v(lane, place, task, visit.column, !visit.whole, &output);
    }
    for (var row = 0u; row < ROW_FOURS; row++) {
        softmax.total[row] = reduce_add(lane, softmax.total[row]);
    }
    store(place, task, &softmax, &output);
}

// A sink is a score without a value; the first split of the keys counts it, in the lanes of the first columns.
fn begin_softmax(place: Place, task: Task) -> Softmax {
    var softmax: Softmax;
    for (var row = 0u; row < ROW_FOURS; row++) {
        softmax.largest[row] = vec4<f32>(HIDDEN);
        if (SINKS && task.split == 0u) {
            let first = task.row + place.row + row * 4u;
            softmax.largest[row] = LOG2_E * vec4<f32>(
                sink_score(task, first),
                sink_score(task, first + 1u),
                sink_score(task, first + 2u),
                sink_score(task, first + 3u),
            );
            softmax.total[row] = vec4<f32>(select(0.0, 1.0, place.column == 0u));
        }
    }
    return softmax;
}

// A row's sink beside scores that are counted from the origin.
fn sink_score(task: Task, row: u32) -> f32 {
    return fma(slope(task, row), ahead(task.sequence, row_query(row)), sink(row_head(task, row)));
}

// Leaves the weights, relative to the largest score so far, in `left`, and brings what was summed before to the same
// measure.
fn update_softmax(
    lane: Lane,
    place: Place,
    task: Task,
    key: u32,
    scores: ptr<function, Scores>,
    softmax: ptr<function, Softmax>,
    output: ptr<function, V_Sums>,
) {
    for (var row = 0u; row < ROW_FOURS; row++) {
        let tile = (*scores)[row];
        let largest = reduce_max(lane, max((*softmax).largest[row], row_maxima(tile)));
        // A row that has seen no key is measured against 0, from which hidden scores are as far as from any other.
        let base = select(vec4<f32>(), largest, is_seen(largest));
        let fade = exp2((*softmax).largest[row] - base);
        (*softmax).largest[row] = largest;
        var weights = mat4x4<f32>(
            exp2(tile[0] - base.x),
            exp2(tile[1] - base.y),
            exp2(tile[2] - base.z),
            exp2(tile[3] - base.w),
        );
        (*softmax).total[row] = (*softmax).total[row] * fade + vec4<f32>(1.0) * weights;
        if (DROPOUT) {
            let first = task.row + place.row + row * 4u;
            for (var n = 0u; n < 4u; n++) {
                let kept = keeps(task, row_head(task, first + n), row_query(first + n), key);
                weights[n] = select(vec4<f32>(), weights[n], kept);
            }
        }
        stage_weights(place, row, weights);
        for (var part = 0u; part < V_LANE_FOURS; part++) {
            let sum = row * V_LANE_FOURS + part;
            (*output)[sum] = scale_rows((*output)[sum], fade);
        }
    }
}

fn store(place: Place, task: Task, softmax: ptr<function, Softmax>, output: ptr<function, V_Sums>) {
    var factors: array<vec4<f32>, ROW_FOURS>;
    for (var row = 0u; row < ROW_FOURS; row++) {
        let first = task.row + place.row + row * 4u;
        let sum = (*softmax).total[row];
        // The largest score itself counts 1, unless nothing was seen. A NaN equals nothing and goes on.
        let seen = !(sum == vec4<f32>());
        let total = select(vec4<f32>(1.0), sum, seen);
        factors[row] = select(vec4<f32>(), value_scale(task) * keep_factor() / total, seen);
        let log_sums = ((*softmax).largest[row] + log2(total)) / LOG2_E;
        for (var n = 0u; n < 4u; n++) {
            if (first + n < row_count(task) && V_column(place, 0u) == 0u) {
                let query = row_query(first + n);
                let at = sum_place(task, query, row_head(task, first + n));
                let log_sum = fma(-slope(task, first + n), ahead(task.sequence, query), log_sums[n]);
                lse[task.split * params.rows + at] = select(params.unseen, log_sum, seen[n]);
            }
        }
    }
    store_o(place, task, factors, output);
}

fn row_maxima(tile: mat4x4<f32>) -> vec4<f32> {
    let rows = transpose(tile);
    return max(max(rows[0], rows[1]), max(rows[2], rows[3]));
}
