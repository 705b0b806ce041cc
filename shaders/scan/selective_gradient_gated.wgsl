// The gradient of a selective scan's result before the gate, in f32. The result itself takes its place when it is used
// up, for the gradient of the gate. Both are those of the slice, in rows of whole fours of steps.

@group(0) @binding(0) var<storage, read_write> gated: array<f32>; // (slice's batches, channels, steps)

fn gated_place(place: Place, t: u32) -> u32 {
    return place.slice_row * ((slice_steps() + 3u) / 4u * 4u) + t - slice_start();
}

fn load_gradient(place: Place, t: u32, end: u32) -> vec4<f32> {
    var four: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        if (place.inside && t + n < end) {
            four[n] = gated[gated_place(place, t) + n];
        }
    }
    return four;
}

fn keep_result(place: Place, t: u32, end: u32, y4: vec4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        if (place.inside && t + n < end) {
            gated[gated_place(place, t) + n] = y4[n];
        }
    }
}
