// Stores four columns of a row of `target`, unless they lie past its end.
fn store_target_row(task: Task, row: u32, four: u32, values: vec4<f32>) {
    let start = (task.split * params.ROWS_OF_A_SPLIT + row_place(task, row)) * WIDTH;
    let stored = row < row_limit(task) && four < (WIDTH + 3u) / 4u;
    target_store4(start + four * 4u, select(0u, start + WIDTH, stored), values);
}
