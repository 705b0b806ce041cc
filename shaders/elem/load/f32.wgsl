alias tensor_word = f32;

fn tensor_load(i: u32) -> f32 {
    return tensor[i];
}
