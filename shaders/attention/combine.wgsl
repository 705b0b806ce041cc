// Puts attention to parts of the keys together: L = log sum exp(L_p), O = sum exp(L_p - L) O_p. It is exact, since a
// part's output is already divided by its own sum of exponentials. PART_LANES neighbouring lanes share four columns of
// one row, and each takes every PART_LANES-th part.
//
// The plan chooses where parts come from: `attention/parts_stacked` are the splits of one attention,
// `attention/parts_pair` two outputs of the caller's.

struct Params {
    groups: u32, // tiles of LANES / PART_LANES fours of columns, over all rows
    parts: u32,
    rows: u32,   // batch x q_len x heads
    q_len: u32,
    heads: u32,
    unseen: f32, // the log-sum-exp of nothing, minus infinity: WGSL has no literal for it
}

const VALUE_DIM: u32 = 64;
const LANES: u32 = 64;
const PART_LANES: u32 = 16;

const REDUCE_LANES = PART_LANES;
const VALUE_FOURS = (VALUE_DIM + 3u) / 4u;
const LOG2_E = 1.4426950408889634;

// The log-sum-exp of a part that sees no key, in here. Finite, since it is computed with.
const UNSEEN = -3e38;

const_assert LANES % PART_LANES == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> o: array<o_word>; // (batch, q_len, heads, VALUE_DIM)
@group(0) @binding(2) var<storage, read_write> lse: array<f32>; // (batch, heads, q_len)

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    let item = group * (LANES / PART_LANES) + rank(lane) / PART_LANES;
    combine(lane, item / VALUE_FOURS, item % VALUE_FOURS);
}

fn combine(lane: Lane, row: u32, four: u32) {
    // Lanes past the last row have no part to go over, and stay: reductions wait for all.
    let parts = select(0u, params.parts, row < params.rows);
    let at = lse_place(row);
    var largest = UNSEEN;
    for (var part = rank(lane) % PART_LANES; part < parts; part += PART_LANES) {
        largest = max(largest, part_log_sum(part, at));
    }
    largest = reduce_max(lane, vec4<f32>(largest)).x;
    var total = 0.0;
    var sum = vec4<f32>();
    let start = row * VALUE_DIM;
    for (var part = rank(lane) % PART_LANES; part < parts; part += PART_LANES) {
        let log_sum = part_log_sum(part, at);
        // A part that saw nothing is not read: 0 times what it holds need not be 0.
        if (is_seen(log_sum)) {
            let weight = exp2((log_sum - largest) * LOG2_E);
            total += weight;
            sum += weight * part_load4(part, start + four * 4u, start + VALUE_DIM);
        }
    }
    total = reduce_add(lane, vec4<f32>(total)).x;
    sum = reduce_add(lane, sum);
    if (row < params.rows && rank(lane) % PART_LANES == 0u) {
        // The part with the largest sum counts 1, unless there is none. By bits: a NaN has been seen, and goes on.
        let seen = bitcast<u32>(total) != 0u;
        o_store4(start + four * 4u, start + VALUE_DIM, sum / select(1.0, total, seen));
        if (four == 0u) {
            lse[at] = select(params.unseen, largest + log2(total) / LOG2_E, seen);
        }
    }
}

// By bits: a NaN is no sum of nothing.
fn is_seen(log_sum: f32) -> bool {
    let unseen: f32 = UNSEEN;
    return bitcast<u32>(log_sum) != bitcast<u32>(unseen);
}

// Rows are ordered (batch, query, head), their log-sum-exps (batch, head, query).
fn lse_place(row: u32) -> u32 {
    let head = row % params.heads;
    let query = row / params.heads % params.q_len;
    let batch = row / params.heads / params.q_len;
    return (batch * params.heads + head) * params.q_len + query;
}
