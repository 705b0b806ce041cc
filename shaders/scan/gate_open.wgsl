// Results that nothing gates.

fn gated(at: u32, end: u32, four: vec4<f32>) -> vec4<f32> {
    return four;
}
