// The four elements from `i`, wherever rows start; those from `end` on are zero.
fn tensor_load4(i: u32, end: u32) -> vec4<f32> {
    var four: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        let inside = i + n < end;
        four[n] = select(0.0, tensor_load(select(0u, i + n, inside)), inside);
    }
    return four;
}
