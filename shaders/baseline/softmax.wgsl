// The softmax of every row of attention scores, after softcap, ALiBi and masks, from one tensor into another. A
// workgroup takes one row: a first pass finds the maximum and the sum of exponentials, a second writes.

struct Params {
    groups: u32, // batch x heads x queries
    heads: u32,
    queries: u32,
    keys: u32,
    delta: i32,  // keys - queries: query i stands at key i + delta
    left: i32,   // keys seen before the query's own; the largest i32 is all of them
    right: i32,  // keys seen after it
    softcap: f32,
    alibi_batch: u32, // distance between the slopes of two batches: heads, or 0 if they share them
}

const LANES: u32 = 256;
const HAS_SOFTCAP: bool = true;
const HAS_ALIBI: bool = true;

// Below every score, and finite, since compilers may assume that infinities do not occur.
const LEAST = -3.0e38;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<scores_word>; // (batch, heads, queries, keys), scaled
@group(0) @binding(2) var<storage, read> slopes: array<f32>; // (heads) or (batch, heads)
@group(0) @binding(3) var<storage, read_write> weights: array<weights_word>; // (batch, heads, queries, keys)

var<workgroup> lane_sums: array<vec2<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts);
    if (row < params.groups) {
        softmax_row(lane, row_of(row));
    }
}

struct Row {
    start: u32,    // the first element
    end: u32,      // after the last
    position: i32, // the key at which the query stands
    slope: f32,
}

fn row_of(row: u32) -> Row {
    let head = row / params.queries;
    var slope = 0.0;
    if (HAS_ALIBI) {
        slope = slopes[(head / params.heads) * params.alibi_batch + head % params.heads];
    }
    let start = row * params.keys;
    return Row(start, start + params.keys, i32(row % params.queries) + params.delta, slope);
}

fn softmax_row(lane: u32, row: Row) {
    // The maximum so far, and the sum of exponentials relative to it.
    var sum = vec2<f32>(LEAST, 0.0);
    for (var i = row.start + 4u * lane; i < row.end; i += 4u * LANES) {
        let four = scores_of(row, i);
        let largest = max(max(four.x, four.y), max(four.z, four.w));
        let maximum = max(sum.x, largest);
        sum = vec2<f32>(maximum, sum.y * exp(sum.x - maximum) + dot(exponentials(four, maximum), vec4<f32>(1.0)));
    }
    sum = sum_lanes(lane, sum);
    // A row that sees no key has weights of 0.
    let factor = select(0.0, 1.0 / sum.y, sum.y > 0.0);
    for (var i = row.start + 4u * lane; i < row.end; i += 4u * LANES) {
        weights_store4(i, row.end, factor * exponentials(scores_of(row, i), sum.x));
    }
}

fn exponentials(four: vec4<f32>, maximum: f32) -> vec4<f32> {
    return select(exp(four - maximum), vec4<f32>(), four <= vec4<f32>(LEAST));
}

// Four scores of a row as softmax sees them: LEAST for a key that the query does not see.
fn scores_of(row: Row, i: u32) -> vec4<f32> {
    var four = scores_load4(i, row.end);
    if (HAS_SOFTCAP) {
        four = params.softcap * bounded_tanh(four / params.softcap);
    }
    let key = vec4<i32>(i32(i - row.start)) + vec4<i32>(0, 1, 2, 3);
    let distance = key - row.position;
    if (HAS_ALIBI) {
        four -= row.slope * vec4<f32>(abs(distance));
    }
    let seen = (distance >= vec4<i32>(-params.left)) & (distance <= vec4<i32>(params.right))
        & (key < vec4<i32>(i32(params.keys)));
    return select(vec4<f32>(LEAST), four, seen);
}

// Some drivers compute tanh through exponentials that overflow; beyond 20 it is 1 in f32.
fn bounded_tanh(x: vec4<f32>) -> vec4<f32> {
    return tanh(clamp(x, vec4<f32>(-20.0), vec4<f32>(20.0)));
}

fn sum_lanes(lane: u32, sum: vec2<f32>) -> vec2<f32> {
    lane_sums[lane] = sum;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            let ours = lane_sums[lane];
            let other = lane_sums[lane + width];
            let maximum = max(ours.x, other.x);
            let total = ours.y * exp(ours.x - maximum) + other.y * exp(other.x - maximum);
            lane_sums[lane] = vec2<f32>(maximum, total);
        }
        workgroupBarrier();
    }
    return lane_sums[0];
}
