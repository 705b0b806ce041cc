// The four elements from `i`, wherever rows start; those from `end` on are zero.
fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    var four = vec4<f32>();
    for (var n = 0u; n < 4u; n++) {
        if (i + n < end) {
            four[n] = tensor_load(i + n);
        }
    }
    return four;
}
