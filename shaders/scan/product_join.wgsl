// The results of scan/chunk_product, with what they have from elsewhere.

@group(0) @binding(0) var<storage, read> base: array<f32>; // (tokens, heads, width)
@group(0) @binding(1) var<storage, read_write> out: array<out_word>; // (tokens, heads, width)

fn finish_four(at: u32, end: u32, four: vec4<f32>) {
    var all = params.scale * four;
    for (var n = 0u; n < 4u; n++) {
        if (at + n < end) {
            all[n] += base[at + n];
        }
    }
    out_store4(at, end, all);
}
