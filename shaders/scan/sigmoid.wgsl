// For large negative values the exponential is too large for f32, and its inverse 0 as it should be; a value that
// could make it infinite is kept out, since compilers may assume that there is none.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(min(-x, vec4<f32>(88.0))));
}

fn silu(x: vec4<f32>) -> vec4<f32> {
    return x * sigmoid(x);
}

fn silu_slope(x: vec4<f32>) -> vec4<f32> {
    let share = sigmoid(x);
    return share * fma(x, 1.0 - share, vec4<f32>(1.0));
}
