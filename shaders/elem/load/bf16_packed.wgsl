alias tensor_word = u32;

fn tensor_load(i: u32) -> f32 {
    return bitcast<f32>((tensor[i / 2u] >> (16u * (i % 2u))) << 16u);
}
