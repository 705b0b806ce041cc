alias tensor_word = vec2<u32>;

fn tensor_store4(i: u32, end: u32, value: vec4<f32>) {
    if (i < end) {
        tensor[i / 4u] = vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw));
    }
}
