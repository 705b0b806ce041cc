alias tensor_word = vec4<f32>;

fn tensor_store4(i: u32, end: u32, value: vec4<f32>) {
    if (i < end) {
        tensor[i / 4u] = value;
    }
}
