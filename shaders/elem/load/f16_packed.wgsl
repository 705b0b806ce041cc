alias tensor_word = u32;

fn tensor_load(i: u32) -> f32 {
    return unpack2x16float(tensor[i / 2u])[i % 2u];
}
