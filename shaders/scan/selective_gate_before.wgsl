// The first pass of a gate's backward.

@group(0) @binding(0) var<storage, read_write> gated: array<gated_word>; // (slice's rows, fours of steps)

fn pass_gate(four: u32, i: u32, end: u32, dout4: vec4<f32>, z4: vec4<f32>) {
    gated_store4(4u * four, 4u * params.total, dout4 * silu(z4));
}
