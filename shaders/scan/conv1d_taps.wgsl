// The arithmetic of a causal depthwise convolution, four outputs at a time: the same for a whole row and for a step,
// bit by bit. The kernel declares WIDTH and SILU. Weights are aligned to the right: the last one meets the output's
// own input, the one before it the input one step earlier.

const_assert WIDTH >= 2u && WIDTH <= 4u;

// The four values that lie `lag` steps before those of `now`; `before` are the four in front of them.
fn lagging(before: vec4<f32>, now: vec4<f32>, lag: u32) -> vec4<f32> {
    switch (lag) {
        case 1u: { return vec4<f32>(before.w, now.xyz); }
        case 2u: { return vec4<f32>(before.zw, now.xy); }
        case 3u: { return vec4<f32>(before.yzw, now.x); }
        default: { return now; }
    }
}

// Adds what the inputs `lag` steps earlier contribute. Oldest first is the order of every caller.
fn add_tap(sum: vec4<f32>, weights: vec4<f32>, lag: u32, inputs: vec4<f32>) -> vec4<f32> {
    return fma(vec4<f32>(weights[3u - lag]), inputs, sum);
}

fn activate(sum: vec4<f32>) -> vec4<f32> {
    if (SILU) {
        return silu(sum);
    }
    return sum;
}

// The derivative of `activate`.
fn activation_slope(sum: vec4<f32>) -> vec4<f32> {
    if (SILU) {
        return silu_slope(sum);
    }
    return vec4<f32>(1.0);
}
