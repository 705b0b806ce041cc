alias tensor_word = vec2<u32>;

fn tensor_load(i: u32) -> f32 {
    return unpack2x16float(tensor[i / 4u][(i / 2u) % 2u])[i % 2u];
}

fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    if (i < end) {
        let word = tensor[i / 4u];
        return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
    }
    return vec4<f32>();
}
