// The gradients of given decays: a step's own, or its part of a head's.

@group(0) @binding(0) var<storage, read_write> dg: array<f32>; // (tokens, heads); not written where constant

fn finish_step(at: u32, head: u32, weight: f32, log_gradient: f32, weight_gradient: f32) -> vec2<f32> {
    if (!CONSTANT) {
        dg[at] = log_gradient;
    }
    return vec2<f32>(log_gradient, 0.0);
}
