alias tensor_word = vec4<f32>;

fn tensor_load(i: u32) -> f32 {
    return tensor[i / 4u][i % 4u];
}

fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    if (i < end) {
        return tensor[i / 4u];
    }
    return vec4<f32>();
}
