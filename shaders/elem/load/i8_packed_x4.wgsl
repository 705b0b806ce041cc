alias tensor_word = u32;

fn tensor_load(i: u32) -> f32 {
    return f32(extractBits(bitcast<i32>(tensor[i / 4u]), 8u * (i % 4u), 8u));
}

fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    let place = select(0u, i / 4u, i < end);
    return select(vec4<f32>(), vec4<f32>(unpack4xI8(tensor[place])), i < end);
}
