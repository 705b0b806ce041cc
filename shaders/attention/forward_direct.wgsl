// Attention, forward, of so few rows that staging columns would not pay: a lane alone uses what it reads of them. The same
// pass as attention/forward otherwise, split among workgroups in the same way.
//
// PART_LANES neighbouring lanes share four keys, and neighbours read neighbouring words. Of dot products they share the width
// and exchange their sums; of weighted sums they share the width. Each such group of lanes goes over its own keys with a
// softmax of its own, and waits for no other until the groups are put together at the end.
//
// What a lane holds has a name, and lies in no array: for one, a compiler that leaves a loop over it rolled takes memory.
// On an NVIDIA H100 that took half of the time.

const HEAD_DIM: u32 = 64;
const VALUE_DIM: u32 = 64;
const PART_LANES: u32 = 16;  // lanes that share four keys
const COLUMN_LANES: u32 = 8; // groups of them
const ROWS: u32 = 1;
const KEY_FOURS: u32 = 1;    // fours of a key that a lane takes, PART_LANES apart

// Rows; a lane's fours of a key; its fours of a value.
const r0 = 0u; // each r
const d0 = 0u; // each d
const v0 = 0u; // each v

const LANES = PART_LANES * COLUMN_LANES;
const REDUCE_LANES = PART_LANES;
const COLUMNS = COLUMN_LANES * 4u;
const QUERY_FOURS = KEY_FOURS * PART_LANES;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (batch, q_len, heads, HEAD_DIM)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (batch, k_len, kv_heads, HEAD_DIM)
@group(0) @binding(3) var<storage, read> v: array<v_word>; // (batch, k_len, kv_heads, VALUE_DIM)
@group(0) @binding(4) var<storage, read_write> o: array<o_word>; // (splits, batch, q_len, heads, VALUE_DIM)
@group(0) @binding(5) var<storage, read_write> lse: array<f32>; // (splits, batch, heads, q_len)

// Rows, with zeros to whole fours of all lanes.
var<workgroup> queries: array<vec4<f32>, ROWS * QUERY_FOURS>;
// What groups tell one another at the end.
var<workgroup> told: array<vec4<f32>, LANES>;

// A lane's place.
struct Place {
    column: u32, // its group's number
    part: u32,   // its own in the group
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
    let place = Place(rank(lane) / PART_LANES, rank(lane) % PART_LANES);
    for (var i = rank(lane); i < ROWS * QUERY_FOURS; i += LANES) {
        queries[i] = q_four(task, task.row + i / QUERY_FOURS, i % QUERY_FOURS * 4u);
    }
    workgroupBarrier();
    var softmax_r0 = begin_softmax(task, task.row + r0, place.column == 0u); // each r
    var output_r0_v0: vec4<f32>; // each r v
    let visits = find_visits(task);
    let share = find_share(visits.count, task.split);
    for (var index = share.first; index < share.end; index++) {
        let visit = find_visit(task, visits, index);
        let key = visit.column + place.column * 4u;
        let keys_d0 = four_keys(task, key, (place.part + d0 * PART_LANES) * 4u); // each d
        var dots_r0: vec4<f32>; // each r
        // A row times the matrix of keys: the row's dot product with each.
        dots_r0 += queries[r0 * QUERY_FOURS + d0 * PART_LANES + place.part] * keys_d0; // each d r
        let scores_r0 = finish_row(reduce_add(lane, dots_r0), task, task.row + r0, key, visit.whole); // each r
        let before_r0 = softmax_r0; // each r
        softmax_r0 = raised(before_r0, scores_r0); // each r
        let fade_r0 = exp2(before_r0.measure - base_of(softmax_r0.measure)); // each r
        var weights_r0 = exp2(scores_r0 - base_of(softmax_r0.measure)); // each r
        softmax_r0.total = fma(before_r0.total, fade_r0, dot(weights_r0, vec4<f32>(1.0))); // each r
        weights_r0 = kept(weights_r0, task, task.row + r0, key); // each r
        let values_v0 = four_values(task, key, (place.part + v0 * PART_LANES) * 4u); // each v
        output_r0_v0 = add_values(fade_r0 * output_r0_v0, weights_r0, values_v0, visit.whole); // each r v
    }
    { // each r
        let softmax = gather_softmax(place, rank(lane), softmax_r0);
        let fade = exp2(softmax_r0.measure - base_of(softmax.measure));
        if (rank(lane) == 0u) {
            store_softmax(task, task.row + r0, softmax);
        }
        let factor = output_factor(task, softmax);
        store_sum(task, r0, place, v0, factor * gather_sum(place, rank(lane), fade * output_r0_v0)); // each v
    }
}

// The same four elements of four neighbouring keys, and of four values.
fn four_keys(task: Task, key: u32, column: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        k_four(task, key, column),
        k_four(task, key + 1u, column),
        k_four(task, key + 2u, column),
        k_four(task, key + 3u, column),
    );
}

fn four_values(task: Task, key: u32, column: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        v_four(task, key, column),
        v_four(task, key + 1u, column),
        v_four(task, key + 2u, column),
        v_four(task, key + 3u, column),
    );
}

fn raised(softmax: Softmax, scores: vec4<f32>) -> Softmax {
    let largest = max(max(scores.x, scores.y), max(scores.z, scores.w));
    return Softmax(max(softmax.measure, largest), softmax.total);
}

// Where a weight of 0 may stand for a key that is not seen, the infinities of its value are kept out.
fn add_values(sum: vec4<f32>, weights: vec4<f32>, values: mat4x4<f32>, whole: bool) -> vec4<f32> {
    if (whole) {
        return add_row(sum, weights, values);
    }
    return add_seen_row(sum, weights, values);
}

// Over all groups.
fn gather_softmax(place: Place, rank: u32, softmax: Softmax) -> Softmax {
    told[rank] = vec4<f32>(softmax.measure, softmax.total, 0.0, 0.0);
    workgroupBarrier();
    var all = softmax;
    for (var column = 0u; column < COLUMN_LANES; column++) {
        all.measure = max(all.measure, told[column * PART_LANES + place.part].x);
    }
    all.total = 0.0;
    for (var column = 0u; column < COLUMN_LANES; column++) {
        let other = told[column * PART_LANES + place.part];
        all.total += other.y * exp2(other.x - base_of(all.measure));
    }
    workgroupBarrier();
    return all;
}

// Over all groups, for the lanes of the first.
fn gather_sum(place: Place, rank: u32, values: vec4<f32>) -> vec4<f32> {
    told[rank] = values;
    workgroupBarrier();
    var sum = values;
    if (place.column == 0u) {
        for (var column = 1u; column < COLUMN_LANES; column++) {
            sum += told[column * PART_LANES + place.part];
        }
    }
    workgroupBarrier();
    return sum;
}

fn store_sum(task: Task, row: u32, place: Place, part: u32, values: vec4<f32>) {
    if (place.column == 0u) {
        store_o_row(task, task.row + row, place.part + part * PART_LANES, values);
    }
}
