// Four neighbouring elements of a key's row of `tensor` (…, kv_heads, WIDTH), which is stored in f16; zeros past its end.
fn tensor_halves(task: Task, key: u32, column: u32) -> vec4<f16> {
    let start = kv_place(task, key) * WIDTH;
    return tensor_load_halves(start + column, select(0u, start + WIDTH, key < key_count(task)));
}
