// Elements are stored as 8-bit integers, with a scale for each head.

@group(0) @binding(0) var<storage, read> inverse_scales: array<f32>; // (heads)

fn scaled(values: vec4<f32>, head: u32) -> vec4<f32> {
    return values * inverse_scales[head];
}
