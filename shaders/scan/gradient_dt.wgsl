// From the gradients of a decay and a weight to those of dt, and to a step's parts of those of a and dt_bias.

@group(0) @binding(0) var<storage, read_write> ddt: array<ddt_word>; // (tokens, heads)

fn finish_step(at: u32, head: u32, weight: f32, log_gradient: f32, weight_gradient: f32) -> vec2<f32> {
    let gradient = (weight_gradient + a[head] * log_gradient) * weight_slope(raw_weight(at, head));
    ddt_store(at, gradient);
    return vec2<f32>(weight * log_gradient, gradient);
}
