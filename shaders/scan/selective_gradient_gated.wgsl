// The gradient of a selective scan's result before the gate, in f32. The result itself takes its place when it is used
// up, for the gradient of the gate.

@group(0) @binding(0) var<storage, read_write> gated: array<f32>; // (batch, channels, length)

fn load_gradient(place: Place, t: u32, end: u32) -> vec4<f32> {
    var four: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        if (place.inside && t + n < end) {
            four[n] = gated[place.row * params.length + t + n];
        }
    }
    return four;
}

fn keep_result(place: Place, t: u32, end: u32, y4: vec4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        if (place.inside && t + n < end) {
            gated[place.row * params.length + t + n] = y4[n];
        }
    }
}
