// Four neighbouring elements of a key's row of `tensor` (…, kv_heads, WIDTH); zeros past its end.
fn tensor_four(task: Task, key: u32, column: u32) -> vec4<f32> {
    let start = (key_place(task, key) * params.kv_heads + kv_head(task)) * WIDTH;
    return tensor_load4(start + column, select(0u, start + WIDTH, key < task.sequence.k_len));
}
