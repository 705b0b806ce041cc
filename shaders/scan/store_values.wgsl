// Stores real values of a lane's steps into a tensor, but none from `end` on.
fn tensor_keep(start: u32, end: u32, values: array<Value, ITEMS>) {
    for (var i = 0u; i < ITEMS; i += 4u) {
        let four = vec4<f32>(values[i], values[i + 1u], values[i + 2u], values[i + 3u]);
        tensor_store4(start + i - params.origin, end - params.origin, four);
    }
}
