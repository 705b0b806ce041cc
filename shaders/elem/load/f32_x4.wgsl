alias tensor_word = vec4<f32>;

fn tensor_load(i: u32) -> f32 {
    return tensor[i / 4u][i % 4u];
}

fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    let place = select(0u, i / 4u, i < end);
    return select(vec4<f32>(), tensor[place], i < end);
}
