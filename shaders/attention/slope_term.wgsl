// What makes the gradient of a query's slope: x, what it is by D as it is known; y, what D is too low by; z, the distances of
// its keys, by their weights and what mods make of them. It is x + y z.
//
// D comes of an output that was rounded when it was stored, and an error of it counts as far as the keys are away, which sums
// over all queries do not forgive. But the gradients of a row's scores come to what is too low, less that of the sink.
//
// Distances are counted from the origin; what they are short of is the same for all keys, whose gradients come to that of the
// sink, less it.

@group(0) @binding(0) var<storage, read_write> slope_terms: array<vec4<f32>>; // (splits, batch, heads, q_len)

fn store_slope_term(task: Task, row: u32, term: vec4<f32>) {
    if (row < row_count(task)) {
        let query = row_query(row);
        let at = sum_place(task, query, row_head(task, row));
        // The first of the splits tells it.
        let of_sink = select(0.0, row_facts(task, row).w, task.split == 0u);
        slope_terms[task.split * params.rows + at] = term + vec4<f32>(ahead(task.sequence, query), 1.0, 0.0, 0.0) * of_sink;
    }
}
