// Real values of a tensor.

fn tensor_value(place: u32) -> Value {
    return tensor_load(place - params.origin);
}

// Those of a lane's steps, and 0 from `end` on.
fn tensor_values(start: u32, end: u32) -> array<Value, ITEMS> {
    var values: array<Value, ITEMS>;
    for (var i = 0u; i < ITEMS; i += 4u) {
        let four = tensor_load4(start + i - params.origin, end - params.origin);
        for (var n = 0u; n < 4u; n++) {
            values[i + n] = four[n];
        }
    }
    return values;
}
