// Each query's part of the gradient of its slope, from what the lanes of its row found. That counts distances from the
// origin; what they are short of is the same for all keys, whose gradients come to that of the sink, less it.

@group(0) @binding(0) var<storage, read_write> slope_terms: array<f32>; // (splits, batch, heads, q_len)

fn store_slope_terms(lane: Lane, place: Place, task: Task, row: u32, slopes: vec4<f32>) {
    let first = task.row + place.row + row * 4u;
    let terms = reduce_add(lane, slopes);
    for (var n = 0u; n < 4u; n++) {
        if (first + n < row_count(task) && place.column == 0u) {
            let query = row_query(first + n);
            let at = sum_place(task, query, row_head(task, first + n));
            let short = select(0.0, ahead(task.sequence, query), task.split == 0u);
            slope_terms[task.split * params.rows + at] = fma(short, row_facts(task, first + n).w, terms[n]);
        }
    }
}
