// What the backward pass needs to know of each query: the log-sum-exp of its scores, and D, the sum of its output times
// the output's gradient, by which every gradient of its scores is lower. The slope and the sink's gradient come along, so
// that the kernels after this one bind no buffers for them.

const VALUE_DIM: u32 = 64;
const ROWS: u32 = 64; // queries of a workgroup
const LANES: u32 = 64;

const REDUCE_LANES = 8u; // lanes of a row
const LOG2_E = 1.4426950408889634;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_o: array<d_o_word>; // (batch, q_len, heads, VALUE_DIM)
@group(0) @binding(2) var<storage, read> o: array<o_word>; // (batch, q_len, heads, VALUE_DIM)
@group(0) @binding(3) var<storage, read> lse: array<f32>; // (batch, heads, q_len)
@group(0) @binding(4) var<storage, read_write> facts: array<vec4<f32>>; // (batch, heads, q_len): lse in base 2 from the origin, D, slope, a term of the sink's gradient

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        let task = find_task(group);
        for (var row = 0u; row < ROWS; row += LANES / REDUCE_LANES) {
            gather(lane, task, task.row + row + rank(lane) / REDUCE_LANES);
        }
    }
}

fn gather(lane: Lane, task: Task, row: u32) {
    let first = rank(lane) % REDUCE_LANES;
    var products = vec4<f32>();
    for (var column = first * 4u; column < VALUE_DIM; column += REDUCE_LANES * 4u) {
        products = fma(d_o_four(task, row, column), o_four(task, row, column), products);
    }
    let delta = dot(reduce_add(lane, products), vec4<f32>(1.0));
    if (row < min(row_count(task), task.row + ROWS) && first == 0u) {
        let at = sum_place(task, row_query(row), row_head(task, row));
        let log_sum = lse[at];
        // Compilers may assume that nothing compares as minus infinity, but not that no word has its bits.
        let seen = bitcast<u32>(log_sum) != 0xff800000u;
        let slope = slope(task, row);
        let base = fma(slope, ahead(task.sequence, row_query(row)), select(0.0, log_sum, seen)) * LOG2_E;
        var sunk = 0.0;
        if (SINKS) {
            // The gradient of a logit whose value is 0.
            sunk = select(0.0, -exp2((sink(row_head(task, row)) - log_sum) * LOG2_E) * delta, seen);
        }
        facts[at] = vec4<f32>(base, delta, slope, sunk);
    }
}
