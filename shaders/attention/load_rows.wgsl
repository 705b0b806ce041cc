// Four neighbouring elements of a row of `tensor` (…, heads, WIDTH), whose rows are queries; zeros past its end.
fn tensor_four(task: Task, row: u32, column: u32) -> vec4<f32> {
    let start = query_place(task, row) * WIDTH;
    return tensor_load4(start + column, select(0u, start + WIDTH, row < row_count(task)));
}
