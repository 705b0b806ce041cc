// The second pass of a gate's backward.

@group(0) @binding(0) var<storage, read> gated: array<gated_word>; // (slice's rows, fours of steps)
@group(0) @binding(1) var<storage, read_write> dz: array<dz_word>; // (batch, channels, length)

fn pass_gate(four: u32, i: u32, end: u32, dout4: vec4<f32>, z4: vec4<f32>) {
    dz_store4(i, end, dout4 * gated_load4(4u * four, 4u * params.total) * silu_slope(z4));
}
