// What attention/backward_rows found out about queries.

@group(0) @binding(0) var<storage, read> facts: array<vec4<f32>>; // (batch, heads, q_len)

// Zeros for rows past the end.
fn row_facts(task: Task, row: u32) -> vec4<f32> {
    if (row < row_count(task)) {
        return facts[sum_place(task, row_query(row), row_head(task, row))];
    }
    return vec4<f32>();
}
