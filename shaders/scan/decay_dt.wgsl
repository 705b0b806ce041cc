// Steps of state-space duality: the weight is a discretisation step, and the decay follows from it. The kernel's
// parameters have the limits `low` and `high`.

const HAS_BIAS: bool = true;    // without, `dt_bias` is not read
const HAS_SOFTPLUS: bool = true;
const HAS_LIMITS: bool = true;

@group(0) @binding(0) var<storage, read> dt: array<dt_word>; // (tokens, heads)
@group(0) @binding(1) var<storage, read> a: array<f32>; // (heads)
@group(0) @binding(2) var<storage, read> dt_bias: array<f32>; // (heads)

fn take_step(at: u32, head: u32) -> Step {
    let weight = weight_of(raw_weight(at, head));
    return Step(weight * a[head], weight);
}

fn raw_weight(at: u32, head: u32) -> f32 {
    var raw = dt_load(at);
    if (HAS_BIAS) {
        raw += dt_bias[head];
    }
    return raw;
}

fn smooth_weight(raw: f32) -> f32 {
    if (HAS_SOFTPLUS) {
        return softplus(vec4<f32>(raw)).x;
    }
    return raw;
}

fn weight_of(raw: f32) -> f32 {
    let weight = smooth_weight(raw);
    if (HAS_LIMITS) {
        let limited = max(min(weight, params.high), params.low);
        return select(limited, weight, is_nan(vec4<f32>(weight)).x);
    }
    return weight;
}

// What the gradient with respect to the weight is multiplied with on its way to `dt`.
fn weight_slope(raw: f32) -> f32 {
    let weight = smooth_weight(raw);
    if (HAS_LIMITS && (weight < params.low || weight > params.high)) {
        return 0.0;
    }
    if (HAS_SOFTPLUS && raw <= 20.0) {
        return sigmoid(vec4<f32>(raw)).x;
    }
    return 1.0;
}
