// What a row's convolution reads, and its outputs before the activation. The kernel declares WIDTH, HAS_BIAS,
// HAS_INITIAL and the tensors x, weight, bias and initial; rows are batch x channels.

fn load_weights(channel: u32) -> vec4<f32> {
    var weights: vec4<f32>;
    for (var k = 0u; k < WIDTH; k++) {
        weights[4u - WIDTH + k] = weight[channel * WIDTH + k];
    }
    return weights;
}

fn load_bias(channel: u32) -> f32 {
    if (HAS_BIAS) {
        return bias[channel];
    }
    return 0.0;
}

// The four inputs from step `t`, a multiple of four, or the four before the first step where t is -4.
fn load_inputs(row: u32, t: i32) -> vec4<f32> {
    if (t >= 0) {
        let first = row * params.length;
        return x_load4(first + u32(t), first + params.length);
    }
    var state: vec4<f32>;
    if (HAS_INITIAL) {
        for (var k = 0u; k < WIDTH - 1u; k++) {
            state[5u - WIDTH + k] = initial[row * (WIDTH - 1u) + k];
        }
    }
    return state;
}

// The outputs of four steps from `t` before their activation.
fn convolve(row: u32, t: i32, weights: vec4<f32>, offset: f32, before: vec4<f32>, now: vec4<f32>) -> vec4<f32> {
    var sum = vec4<f32>(offset);
    for (var k = 0u; k < WIDTH; k++) {
        let lag = WIDTH - 1u - k;
        sum = add_tap(sum, weights, lag, within(row, t, lag, lagging(before, now, lag)));
    }
    return sum;
}
