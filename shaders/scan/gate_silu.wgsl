// Results gated by silu(z).

@group(0) @binding(0) var<storage, read> z: array<z_word>; // (tokens, heads, x_dim), the layout of the result

fn gated(at: u32, end: u32, four: vec4<f32>) -> vec4<f32> {
    return four * silu(z_load4(at, end));
}
