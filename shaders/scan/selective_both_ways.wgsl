// A chunk's map of the gradients that come from the other end, beside that of its states.

@group(0) @binding(0) var<storage, read_write> maps_back: array<f32>; // as `maps`, but the last chunk first

fn store_back(i: u32, number: f32) {
    maps_back[i] = number;
}
