// Workgroup memory for what lies between the factors, where every quad starts at a multiple of four.

var<workgroup> z: array<vec4<f32>, Z_FLOATS / 4u>;

fn z_load4(i: u32) -> vec4<f32> {
    return z[i / 4u];
}

fn z_store4(i: u32, end: u32, value: vec4<f32>) {
    if (i < end) {
        z[i / 4u] = value;
    }
}
