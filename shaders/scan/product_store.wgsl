// The results of scan/chunk_product, scaled.

@group(0) @binding(0) var<storage, read_write> out: array<f32>; // (tokens, heads, width)

fn finish_four(at: u32, end: u32, four: vec4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        if (at + n < end) {
            out[at + n] = params.scale * four[n];
        }
    }
}
