alias tensor_word = f16;

fn tensor_store(i: u32, value: f32) {
    tensor[i] = f16(value);
}
