alias tensor_word = f32;

fn tensor_store(i: u32, value: f32) {
    tensor[i] = value;
}
