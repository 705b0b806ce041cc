// Steps of the delta rule: the weight is a rate, and the decay is given by its logarithm, if there is one. The kernel's
// parameters have `heads`.

const GATED: bool = true; // without, states do not decay and `g` is not read
const PAIRS: bool = false; // a token is two steps: the first decays, the second adds

@group(0) @binding(0) var<storage, read> g: array<f32>; // (tokens, heads)
@group(0) @binding(1) var<storage, read> beta: array<f32>; // (tokens, heads)

fn take_step(at: u32, head: u32) -> Step {
    if (!PAIRS) {
        return Step(log_decay(at), beta[at]);
    }
    let token = token_of(at, head);
    if (decays_first(at)) {
        return Step(log_decay(token), 0.0);
    }
    return Step(0.0, beta[token]);
}

fn log_decay(at: u32) -> f32 {
    if (GATED) {
        return g[at];
    }
    return 0.0;
}

fn token_of(at: u32, head: u32) -> u32 {
    return at / params.heads / 2u * params.heads + head;
}

fn decays_first(at: u32) -> bool {
    return at / params.heads % 2u == 0u;
}
