// Workgroup memory for what lies between the factors, where quads start anywhere.

var<workgroup> z: array<f32, Z_FLOATS>;

// Elements past the end are of blocks past the last, of which nothing is stored: they only have to stay inside.
fn z_load4(i: u32) -> vec4<f32> {
    let last = Z_FLOATS - 1u;
    return vec4<f32>(z[i], z[min(i + 1u, last)], z[min(i + 2u, last)], z[min(i + 3u, last)]);
}

fn z_store4(i: u32, end: u32, value: vec4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        if (i + n < end) {
            z[i + n] = value[n];
        }
    }
}
