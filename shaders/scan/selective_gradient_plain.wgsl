// The gradient of a selective scan's result, which is its output.

@group(0) @binding(0) var<storage, read> dout: array<dout_word>; // (batch, channels, length)

fn load_gradient(place: Place, t: u32, end: u32) -> vec4<f32> {
    return dout_load4(place.row * params.length + t, row_end(place, end));
}

fn keep_result(place: Place, t: u32, end: u32, y4: vec4<f32>) {
}
