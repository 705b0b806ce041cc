alias tensor_word = vec2<u32>;

fn tensor_load(i: u32) -> f32 {
    return unpack2x16float(tensor[i / 4u][(i / 2u) % 2u])[i % 2u];
}

fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    let word = tensor[select(0u, i / 4u, i < end)];
    let four = vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
    return select(vec4<f32>(), four, i < end);
}
