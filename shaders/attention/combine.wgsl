// Puts together what the splits of the keys left: L = log sum exp(L_s), O = sum exp(L_s - L) O_s. It is exact, since a
// split's output is already divided by its own sum of exponentials. A lane takes four columns of one row.

struct Params {
    groups: u32, // tiles of LANES x 4 columns, over all rows
    splits: u32,
    rows: u32,   // batch x q_len x heads
    q_len: u32,
    heads: u32,
    unseen: f32, // the log-sum-exp of nothing, minus infinity: WGSL has no literal for it
}

const VALUE_DIM: u32 = 64;
const LANES: u32 = 64;

const VALUE_FOURS = (VALUE_DIM + 3u) / 4u;
const LOG2_E = 1.4426950408889634;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<parts_word>; // (splits, batch, q_len, heads, VALUE_DIM)
@group(0) @binding(2) var<storage, read> part_lse: array<f32>; // (splits, batch, heads, q_len), UNSEEN where no key is
@group(0) @binding(3) var<storage, read_write> o: array<o_word>; // (batch, q_len, heads, VALUE_DIM)
@group(0) @binding(4) var<storage, read_write> lse: array<f32>; // (batch, heads, q_len)

// What forward stores for a row that sees no key of a split: finite, since it is computed with.
const UNSEEN = -3e38;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    if (item < params.rows * VALUE_FOURS) {
        combine(item / VALUE_FOURS, item % VALUE_FOURS);
    }
}

fn combine(row: u32, four: u32) {
    let at = lse_place(row);
    var largest = UNSEEN;
    for (var split = 0u; split < params.splits; split++) {
        largest = max(largest, part_lse[split * params.rows + at]);
    }
    var total = 0.0;
    var sum = vec4<f32>();
    for (var split = 0u; split < params.splits; split++) {
        let weight = exp2((part_lse[split * params.rows + at] - largest) * LOG2_E);
        let start = (split * params.rows + row) * VALUE_DIM;
        total += weight;
        sum += weight * parts_load4(start + four * 4u, start + VALUE_DIM);
    }
    let start = row * VALUE_DIM;
    // Where no split sees a key, every weight is 1 and every part 0.
    o_store4(start + four * 4u, start + VALUE_DIM, sum / total);
    if (four == 0u) {
        lse[at] = select(params.unseen, largest + log2(total) / LOG2_E, largest > 0.5 * UNSEEN);
    }
}

// Rows are ordered (batch, query, head), their log-sum-exps (batch, head, query).
fn lse_place(row: u32) -> u32 {
    let head = row % params.heads;
    let query = row / params.heads % params.q_len;
    let batch = row / params.heads / params.q_len;
    return (batch * params.heads + head) * params.q_len + query;
}
