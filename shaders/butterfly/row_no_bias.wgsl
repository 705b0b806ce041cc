// No bias.

fn bias4(i: u32, end: u32) -> vec4<f32> {
    return vec4<f32>();
}
