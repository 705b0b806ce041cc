// A step of scan/token that adds its values as they are.

fn held_under_key(lane: Lane, record: u32, row: u32) -> vec4<f32> {
    return vec4<f32>();
}
