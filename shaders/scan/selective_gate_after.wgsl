// The second pass of a gate's backward.

@group(0) @binding(0) var<storage, read> gated: array<gated_word>; // (total)
@group(0) @binding(1) var<storage, read_write> dz: array<dz_word>; // (total)

fn pass_gate(i: u32, dout4: vec4<f32>, z4: vec4<f32>) {
    dz_store4(i, params.total, dout4 * gated_load4(i, params.total) * silu_slope(z4));
}
