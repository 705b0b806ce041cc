// Rows as they are.

fn load_turned4(start: u32, column: u32, position: u32) -> vec4<f32> {
    return x_load4(start + column, start + WIDTH);
}
