// The four elements from `i`, wherever rows start; those from `end` on are left alone.
fn tensor_store4(i: u32, end: u32, value: vec4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        if (i + n < end) {
            tensor_store(i + n, value[n]);
        }
    }
}
