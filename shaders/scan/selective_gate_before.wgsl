// The first pass of a gate's backward.

@group(0) @binding(0) var<storage, read_write> gated: array<gated_word>; // (total)

fn pass_gate(i: u32, dout4: vec4<f32>, z4: vec4<f32>) {
    gated_store4(i, params.total, dout4 * silu(z4));
}
