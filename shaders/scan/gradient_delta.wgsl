// The gradients of a pair of steps: the decay is of the first, the rate of the second.

@group(0) @binding(0) var<storage, read_write> dg: array<f32>; // (tokens, heads); not written without a gate
@group(0) @binding(1) var<storage, read_write> dbeta: array<f32>; // (tokens, heads)

fn finish_step(at: u32, head: u32, weight: f32, log_gradient: f32, weight_gradient: f32) -> vec2<f32> {
    let token = token_of(at, head);
    if (!decays_first(at)) {
        dbeta[token] = weight_gradient;
    } else if (GATED) {
        dg[token] = log_gradient;
    }
    return vec2<f32>();
}
