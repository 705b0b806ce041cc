alias tensor_word = vec2<u32>;

fn tensor_load(i: u32) -> f32 {
    return bitcast<f32>((tensor[i / 4u][(i / 2u) % 2u] >> (16u * (i % 2u))) << 16u);
}

fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    let word = tensor[select(0u, i / 4u, i < end)];
    let four = bitcast<vec4<f32>>(vec4<u32>(word.x << 16u, word.x & 0xffff0000u, word.y << 16u, word.y & 0xffff0000u));
    return select(vec4<f32>(), four, i < end);
}
