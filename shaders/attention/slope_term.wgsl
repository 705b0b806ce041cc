// A query's part of the gradient of its slope. `term` counts distances from the origin; what they are short of is the same for
// all keys, whose gradients come to that of the sink, less it.

@group(0) @binding(0) var<storage, read_write> slope_terms: array<f32>; // (splits, batch, heads, q_len)

fn store_slope_term(task: Task, row: u32, term: f32) {
    if (row < row_count(task)) {
        let query = row_query(row);
        let at = sum_place(task, query, row_head(task, row));
        let short = select(0.0, ahead(task.sequence, query), task.split == 0u);
        slope_terms[task.split * params.rows + at] = fma(short, row_facts(task, row).w, term);
    }
}
