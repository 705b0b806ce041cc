// Attention, forward, with the online softmax of FlashAttention-2 (Dao 2023). A workgroup takes a tile of queries of
// one head and goes over the keys that any of them sees, a tile at a time: scores, their running maximum and sum, and
// the output so far, rescaled when the maximum grows. Scores never leave the workgroup.
//
// Where there are few queries or very many keys, the keys are split among workgroups, and each split leaves an output and
// a log-sum-exp of its own; attention/combine puts them together.
//
// Both products, queries by keys and probabilities by values, are done alike: slices of the left and the right factor
// are staged in workgroup memory, and a lane multiplies ROW_FOURS x 4 queries by four keys, and by fours of
// value columns that lie KEY_LANES fours apart, so that neighbouring lanes read neighbouring words.

struct Params {
    groups: u32,   // batch x heads x tiles of queries x splits
    splits: u32,   // parts of the keys that workgroups of their own attend to
    split_keys: u32, // keys of a split, a multiple of the tile
    tiles: u32,    // tiles of queries of a head
    batch: u32,
    q_len: u32,
    k_len: u32,
    heads: u32,    // query heads
    kv_heads: u32, // key and value heads
    keys_from: i32, // the first key that query 0 sees, counted as if keys began at minus infinity
    keys_to: i32,   // the key after the last that query 0 sees, counted as if keys never ended
    scale: f32,    // times log2(e)
    softcap: f32,  // times log2(e)
    slopes: u32,   // ALiBi slopes from one batch to the next: 0 where all batches share them
    unseen: f32,   // what stands for the log-sum-exp of nothing, minus infinity: WGSL has no literal for it
}

const HEAD_DIM: u32 = 64;
const VALUE_DIM: u32 = 64;
const ROW_LANES: u32 = 16;  // lanes down a tile
const KEY_LANES: u32 = 8;   // lanes across a tile
const ROW_FOURS: u32 = 1;   // fours of queries a lane
const HEAD_SLICE: u32 = 32; // of the head dimension, staged at a time
const KEY_SLICE: u32 = 16;  // keys whose values are staged at a time

const LANES = ROW_LANES * KEY_LANES;
const REDUCE_LANES = KEY_LANES;
const QUERIES = ROW_LANES * ROW_FOURS * 4u;
const KEYS = KEY_LANES * 4u;
const VALUE_FOURS = (VALUE_DIM + 3u) / 4u;
const LANE_VALUES = (VALUE_FOURS + KEY_LANES - 1u) / KEY_LANES; // fours of value columns a lane
// Rows of workgroup memory are an odd number of fours apart, which spreads a column over all banks.
const LEFT_STRIDE = max(HEAD_SLICE, KEYS) / 4u + 1u;
const KEY_STRIDE = KEYS / 4u + 1u;

const_assert HEAD_SLICE % 4u == 0u;
const_assert KEY_SLICE % 4u == 0u;
const_assert KEYS % KEY_SLICE == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (batch, q_len, heads, HEAD_DIM)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (batch, k_len, kv_heads, HEAD_DIM)
@group(0) @binding(3) var<storage, read> v: array<v_word>; // (batch, k_len, kv_heads, VALUE_DIM)
@group(0) @binding(4) var<storage, read> alibi: array<f32>; // (heads) or (batch, heads); read only where ALIBI
@group(0) @binding(5) var<storage, read_write> o: array<o_word>; // (splits, batch, q_len, heads, VALUE_DIM)
@group(0) @binding(6) var<storage, read_write> lse: array<f32>; // (splits, batch, heads, q_len)

// The left factor, row by row: queries, then probabilities.
var<workgroup> left: array<vec4<f32>, QUERIES * LEFT_STRIDE>;
// The right factor, the summed dimension down and columns across: keys transposed, then values.
var<workgroup> right: array<vec4<f32>, max(HEAD_SLICE * KEY_STRIDE, KEY_SLICE * VALUE_FOURS)>;

// What a workgroup works on.
struct Task {
    batch: u32,
    head: u32,
    kv_head: u32,
    query: u32, // the first of the tile
    part: u32,  // the batch among the batches of all splits, where the result goes
    first: u32, // the first key that the workgroup goes over
    end: u32,   // the key after the last
}

// A lane's place in a tile.
struct Place {
    row: u32,    // the first of its rows
    column: u32, // the first of its fours of columns
}

// A lane's share of the scores of a tile, and of the output; each matrix holds four rows of four columns.
alias Scores = array<mat4x4<f32>, ROW_FOURS>;
alias Output = array<mat4x4<f32>, ROW_FOURS * LANE_VALUES>;

// The online softmax so far, for the rows of a lane.
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
        attend(lane, group);
    }
}

fn attend(lane: Lane, group: u32) {
    let split = group % params.splits;
    let tile = group / params.splits;
    let head = (tile / params.tiles) % params.heads;
    let batch = tile / params.tiles / params.heads;
    // The last tile of queries comes first: under a causal mask it has the most keys to see.
    let query = (params.tiles - 1u - tile % params.tiles) * QUERIES;
    let last_query = min(query + QUERIES, params.q_len) - 1u;
    let end = min(end_key(last_query), (split + 1u) * params.split_keys);
    let kv_head = head / (params.heads / params.kv_heads);
    let first = max(first_key(query), split * params.split_keys);
    let task = Task(batch, head, kv_head, query, split * params.batch + batch, first, end);
    let place = Place(rank(lane) / KEY_LANES * ROW_FOURS * 4u, rank(lane) % KEY_LANES);

    var output: Output;
    var softmax: Softmax;
    for (var row = 0u; row < ROW_FOURS; row++) {
        softmax.largest[row] = vec4<f32>(HIDDEN);
    }
    for (var key = first; key < end; key += KEYS) {
        // Most tiles are seen whole, and skip the mask.
        let whole = key >= first_key(last_query) && key + KEYS <= min(end_key(query), end);
        var scores = score_tile(lane, place, task, key);
        finish_scores(&scores, place, task, key, whole);
        update_softmax(lane, place, &scores, &softmax, &output);
        add_values(lane, place, task, key, &output);
    }
    store(lane, place, task, &softmax, &output);
}

// Queries by keys, from slices of the head dimension.
fn score_tile(lane: Lane, place: Place, task: Task, key: u32) -> Scores {
    var scores: Scores;
    for (var first = 0u; first < HEAD_DIM; first += HEAD_SLICE) {
        stage_queries(lane, task, first);
        stage_keys(lane, task, key, first);
        workgroupBarrier();
        for (var four = 0u; four < HEAD_SLICE / 4u; four++) {
            let keys = right_rows(four * 4u * KEY_STRIDE + place.column, KEY_STRIDE);
            for (var row = 0u; row < ROW_FOURS; row++) {
                scores[row] = add_product(scores[row], left_rows(place.row + row * 4u, four), keys);
            }
        }
        workgroupBarrier();
    }
    return scores;
}

fn stage_queries(lane: Lane, task: Task, first: u32) {
    for (var i = rank(lane); i < QUERIES * (HEAD_SLICE / 4u); i += LANES) {
        let row = i / (HEAD_SLICE / 4u);
        let four = i % (HEAD_SLICE / 4u);
        let query = task.query + row;
        let start = ((task.batch * params.q_len + query) * params.heads + task.head) * HEAD_DIM;
        let end = select(0u, start + HEAD_DIM, query < params.q_len);
        left[row * LEFT_STRIDE + four] = q_load4(start + first + four * 4u, end);
    }
}

// A lane takes four dimensions of four keys at a time, and turns them round.
fn stage_keys(lane: Lane, task: Task, key: u32, first: u32) {
    for (var i = rank(lane); i < KEYS / 4u * (HEAD_SLICE / 4u); i += LANES) {
        let column = i / (HEAD_SLICE / 4u);
        let four = i % (HEAD_SLICE / 4u);
        let dim = first + four * 4u;
        let keys = transpose(mat4x4<f32>(
            load_key(task, key + column * 4u, dim),
            load_key(task, key + column * 4u + 1u, dim),
            load_key(task, key + column * 4u + 2u, dim),
            load_key(task, key + column * 4u + 3u, dim),
        ));
        let at = four * 4u * KEY_STRIDE + column;
        right[at] = keys[0];
        right[at + KEY_STRIDE] = keys[1];
        right[at + 2u * KEY_STRIDE] = keys[2];
        right[at + 3u * KEY_STRIDE] = keys[3];
    }
}

fn load_key(task: Task, key: u32, dim: u32) -> vec4<f32> {
    let start = ((task.batch * params.k_len + key) * params.kv_heads + task.kv_head) * HEAD_DIM;
    return k_load4(start + dim, select(0u, start + HEAD_DIM, key < params.k_len));
}

fn finish_scores(scores: ptr<function, Scores>, place: Place, task: Task, key: u32, whole: bool) {
    var slope = 0.0;
    if (ALIBI) {
        slope = LOG2_E * alibi[task.batch * params.slopes + task.head];
    }
    let first = key + place.column * 4u;
    for (var row = 0u; row < ROW_FOURS; row++) {
        let query = task.query + place.row + row * 4u;
        let dots = (*scores)[row];
        var rows = mat4x4<f32>(
            score(dots[0], query, first, slope),
            score(dots[1], query + 1u, first, slope),
            score(dots[2], query + 2u, first, slope),
            score(dots[3], query + 3u, first, slope),
        );
        if (!whole) {
            rows = mat4x4<f32>(
                hide_unseen(rows[0], query, first, task.end),
                hide_unseen(rows[1], query + 1u, first, task.end),
                hide_unseen(rows[2], query + 2u, first, task.end),
                hide_unseen(rows[3], query + 3u, first, task.end),
            );
        }
        (*scores)[row] = rows;
    }
}

// Leaves the probabilities, relative to the largest score so far, in `left`, and brings what was summed before to the
// same measure.
fn update_softmax(
    lane: Lane,
    place: Place,
    scores: ptr<function, Scores>,
    softmax: ptr<function, Softmax>,
    output: ptr<function, Output>,
) {
    for (var row = 0u; row < ROW_FOURS; row++) {
        let tile = (*scores)[row];
        let largest = reduce_max(lane, max((*softmax).largest[row], row_maxima(tile)));
        // A row that has seen no key is measured against 0, from which hidden scores are as far as from any other.
        let base = select(vec4<f32>(), largest, is_seen(largest));
        let fade = exp2((*softmax).largest[row] - base);
        (*softmax).largest[row] = largest;
        let weights = mat4x4<f32>(
            exp2(tile[0] - base.x),
            exp2(tile[1] - base.y),
            exp2(tile[2] - base.z),
            exp2(tile[3] - base.w),
        );
        (*softmax).total[row] = (*softmax).total[row] * fade + vec4<f32>(1.0) * weights;
        let at = (place.row + row * 4u) * LEFT_STRIDE + place.column;
        left[at] = weights[0];
        left[at + LEFT_STRIDE] = weights[1];
        left[at + 2u * LEFT_STRIDE] = weights[2];
        left[at + 3u * LEFT_STRIDE] = weights[3];
        for (var column = 0u; column < LANE_VALUES; column++) {
            let part = row * LANE_VALUES + column;
            (*output)[part] = scale_rows((*output)[part], fade);
        }
    }
}

// Probabilities by values, from slices of the keys.
fn add_values(lane: Lane, place: Place, task: Task, key: u32, output: ptr<function, Output>) {
    for (var first = 0u; first < KEYS; first += KEY_SLICE) {
        stage_values(lane, task, key + first);
        workgroupBarrier();
        for (var four = 0u; four < KEY_SLICE / 4u; four++) {
            for (var column = 0u; column < LANE_VALUES; column++) {
                // Columns past the last repeat it, and are not stored.
                let at = min(place.column + column * KEY_LANES, VALUE_FOURS - 1u);
                let values = right_rows(four * 4u * VALUE_FOURS + at, VALUE_FOURS);
                for (var row = 0u; row < ROW_FOURS; row++) {
                    let weights = left_rows(place.row + row * 4u, first / 4u + four);
                    let tile = row * LANE_VALUES + column;
                    (*output)[tile] = add_product((*output)[tile], weights, values);
                }
            }
        }
        workgroupBarrier();
    }
}

fn stage_values(lane: Lane, task: Task, key: u32) {
    for (var i = rank(lane); i < KEY_SLICE * VALUE_FOURS; i += LANES) {
        let row = key + i / VALUE_FOURS;
        let start = ((task.batch * params.k_len + row) * params.kv_heads + task.kv_head) * VALUE_DIM;
        let end = select(0u, start + VALUE_DIM, row < params.k_len);
        right[i] = v_load4(start + i % VALUE_FOURS * 4u, end);
    }
}

fn store(
    lane: Lane,
    place: Place,
    task: Task,
    softmax: ptr<function, Softmax>,
    output: ptr<function, Output>,
) {
    for (var row = 0u; row < ROW_FOURS; row++) {
        let first = task.query + place.row + row * 4u;
        let seen = vec4<bool>(
            sees_any(first, task.first, task.end),
            sees_any(first + 1u, task.first, task.end),
            sees_any(first + 2u, task.first, task.end),
            sees_any(first + 3u, task.first, task.end),
        );
        // Where no key is seen, hidden ones have been summed: 1 keeps the division defined, and 0 replaces its result.
        let total = select(vec4<f32>(1.0), reduce_add(lane, (*softmax).total[row]), seen);
        let factors = select(vec4<f32>(), 1.0 / total, seen);
        let log_sums = ((*softmax).largest[row] + log2(total)) / LOG2_E;
        for (var n = 0u; n < 4u; n++) {
            let query = first + n;
            if (query < params.q_len && place.column == 0u) {
                let at = (task.part * params.heads + task.head) * params.q_len + query;
                lse[at] = select(params.unseen, log_sums[n], seen[n]);
            }
        }
        for (var column = 0u; column < LANE_VALUES; column++) {
            let tile = scale_rows((*output)[row * LANE_VALUES + column], factors);
            let four = place.column + column * KEY_LANES;
            store_row(task, place.row + row * 4u, four, tile[0]);
            store_row(task, place.row + row * 4u + 1u, four, tile[1]);
            store_row(task, place.row + row * 4u + 2u, four, tile[2]);
            store_row(task, place.row + row * 4u + 3u, four, tile[3]);
        }
    }
}

fn store_row(task: Task, row: u32, four: u32, values: vec4<f32>) {
    let query = task.query + row;
    let start = ((task.part * params.q_len + query) * params.heads + task.head) * VALUE_DIM;
    let stored = query < params.q_len && four < VALUE_FOURS;
    o_store4(start + four * 4u, select(0u, start + VALUE_DIM, stored), values);
}

// Four rows of the left factor from `row` on, at one four of the summed dimension.
fn left_rows(row: u32, four: u32) -> mat4x4<f32> {
    let at = row * LEFT_STRIDE + four;
    return mat4x4<f32>(left[at], left[at + LEFT_STRIDE], left[at + 2u * LEFT_STRIDE], left[at + 3u * LEFT_STRIDE]);
}

// Four rows of the right factor, `stride` apart.
fn right_rows(at: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4<f32>(right[at], right[at + stride], right[at + 2u * stride], right[at + 3u * stride]);
}

fn row_maxima(tile: mat4x4<f32>) -> vec4<f32> {
    let rows = transpose(tile);
    return max(max(rows[0], rows[1]), max(rows[2], rows[3]));
}
