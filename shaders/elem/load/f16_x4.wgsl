alias tensor_word = vec4<f16>;

fn tensor_load(i: u32) -> f32 {
    return f32(tensor[i / 4u][i % 4u]);
}

fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    let place = select(0u, i / 4u, i < end);
    return select(vec4<f32>(), vec4<f32>(tensor[place]), i < end);
}

// The same as they are stored.
fn tensor_load_halves(i: u32, end: u32) -> vec4<f16> {
    let place = select(0u, i / 4u, i < end);
    return select(vec4<f16>(), tensor[place], i < end);
}

// The same, but past the end others than zeros.
fn tensor_load_near(i: u32, end: u32) -> vec4<f16> {
    return tensor[select(0u, i / 4u, i < end)];
}
