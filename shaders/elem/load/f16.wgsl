alias tensor_word = f16;

fn tensor_load(i: u32) -> f32 {
    return f32(tensor[i]);
}
