// Sinks: a logit for each head that enters the sum of exponentials alone.

@group(0) @binding(0) var<storage, read> sinks: array<f32>; // (heads)

const SINKS = true;

fn sink(head: u32) -> f32 {
    return sinks[head];
}
