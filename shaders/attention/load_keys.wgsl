// Four neighbouring elements of a key's row of `tensor` (…, kv_heads, WIDTH); zeros past its end.
fn tensor_four(task: Task, key: u32, column: u32) -> vec4<f32> {
    let start = kv_place(task, key) * WIDTH;
    return tensor_load4(start + column, select(0u, start + WIDTH, key < key_count(task)));
}
