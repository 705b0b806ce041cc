// The weights with which values enter the output, once the log-sum-exps are known: what models ask for that read them. A
// workgroup computes a tile of queries by keys of one head; what no query sees is 0.

const HEAD_DIM: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (batch, q_len, heads, HEAD_DIM)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (batch, k_len, kv_heads, HEAD_DIM)
@group(0) @binding(3) var<storage, read> lse: array<f32>; // (batch, heads, q_len)
@group(0) @binding(4) var<storage, read_write> p: array<p_word>; // (batch, heads, q_len, k_len)

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        // Splits are tiles of keys here.
        let task = find_task(group);
        weigh(lane, task, task.split * COLUMNS);
    }
}

fn weigh(lane: Lane, task: Task, column: u32) {
    let place = find_place(lane);
    let key = column + place.column * 4u;
    let dots = q_by_k(lane, place, task, column);
    for (var row = 0u; row < ROW_FOURS; row++) {
        for (var n = 0u; n < 4u; n++) {
            let query = task.row + place.row + row * 4u + n;
            if (query < row_count(task)) {
                store_weights(task, query, key, dots[row][n]);
            }
        }
    }
}

fn store_weights(task: Task, row: u32, key: u32, dots: vec4<f32>) {
    let head = row_head(task, row);
    let at = sum_place(task, row_query(row), head);
    let scores = finish_row(dots, task, row, key, false);
    let base = fma(slope(task, row), ahead(task.sequence, row_query(row)), lse[at]);
    var weights = exp2(scores - base * LOG2_E);
    if (DROPOUT) {
        weights = select(vec4<f32>(), keep_factor() * weights, keeps(task, head, row_query(row), key));
    }
    let start = at * params.k_len;
    p_store4(start + key, start + params.k_len, select(weights, vec4<f32>(), is_hidden(scores)));
}
