alias tensor_word = u32;

fn tensor_load(i: u32) -> f32 {
    return f32(extractBits(bitcast<i32>(tensor[i / 4u]), 8u * (i % 4u), 8u));
}
