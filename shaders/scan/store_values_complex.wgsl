// Stores complex values of a lane's steps into a tensor, but none from `end` on.
fn tensor_keep(start: u32, end: u32, values: array<Value, ITEMS>) {
    for (var i = 0u; i < ITEMS; i += 2u) {
        let two = vec4<f32>(values[i], values[i + 1u]);
        tensor_store4(2u * (start + i - params.origin), 2u * (end - params.origin), two);
    }
}
