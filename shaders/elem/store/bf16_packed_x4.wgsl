alias tensor_word = vec2<u32>;

// Rounds to nearest, ties to even. A NaN keeps its sign and becomes quiet, since rounding could make it infinite.
fn tensor_bits(value: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(value);
    let rounded = (bits + 0x7fffu + ((bits >> vec4<u32>(16u)) & vec4<u32>(1u))) >> vec4<u32>(16u);
    let is_nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
    return select(rounded, (bits >> vec4<u32>(16u)) | vec4<u32>(0x40u), is_nan);
}

fn tensor_store4(i: u32, end: u32, value: vec4<f32>) {
    if (i < end) {
        let bits = tensor_bits(value);
        tensor[i / 4u] = vec2<u32>(bits.x | (bits.y << 16u), bits.z | (bits.w << 16u));
    }
}
