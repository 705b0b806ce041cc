alias tensor_word = u32;

fn tensor_store4(i: u32, end: u32, value: vec4<f32>) {
    if (i < end) {
        let rounded = clamp(round(value), vec4<f32>(-127.0), vec4<f32>(127.0));
        tensor[i / 4u] = pack4xI8(vec4<i32>(rounded));
    }
}
