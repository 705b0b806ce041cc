// Complex values of a tensor, whose real and imaginary parts lie beside each other.

fn tensor_value(place: u32) -> Value {
    let i = 2u * (place - params.origin);
    return Value(tensor_load(i), tensor_load(i + 1u));
}

// Those of a lane's steps, and 0 from `end` on.
fn tensor_values(start: u32, end: u32) -> array<Value, ITEMS> {
    var values: array<Value, ITEMS>;
    for (var i = 0u; i < ITEMS; i += 2u) {
        let two = tensor_load4(2u * (start + i - params.origin), 2u * (end - params.origin));
        values[i] = two.xy;
        values[i + 1u] = two.zw;
    }
    return values;
}
