// Four neighbouring elements of a row of `tensor` (…, heads, WIDTH), whose rows are queries and which is stored in f16; zeros
// past its end.
fn tensor_halves(task: Task, row: u32, column: u32) -> vec4<f16> {
    let start = query_place(task, row) * WIDTH;
    return tensor_load_halves(start + column, select(0u, start + WIDTH, row < row_count(task)));
}
