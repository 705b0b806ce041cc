// What the convolution of four neighbouring channels reads where steps lie outermost and a lane takes one after the
// other. Channels are counted through all of x, of which a dispatch takes a part. The kernel declares WIDTH, HAS_BIAS,
// HAS_INITIAL and the tensors x, weight, bias and initial, and its params have `channels`, `first`, `part` and `length`.

// Of four channels, the taps or the inputs that they meet, oldest first.
alias Taps = array<vec4<f32>, WIDTH>;

// How many of the four channels from this one on belong to the part.
fn channels_from(channel: u32) -> u32 {
    return min(params.first + params.part - channel, 4u);
}

fn load_taps(channel: u32) -> Taps {
    var taps: Taps;
    for (var n = 0u; n < channels_from(channel); n++) {
        for (var k = 0u; k < WIDTH; k++) {
            taps[k][n] = weight[(channel + n) * WIDTH + k];
        }
    }
    return taps;
}

fn load_offsets(channel: u32) -> vec4<f32> {
    var offsets: vec4<f32>;
    if (HAS_BIAS) {
        for (var n = 0u; n < channels_from(channel); n++) {
            offsets[n] = bias[channel + n];
        }
    }
    return offsets;
}

// Steps before the first are the initial state's; those past the last are 0.
fn load_inputs(batch: u32, t: i32, channel: u32) -> vec4<f32> {
    if (t >= 0) {
        let line = (batch * params.length + u32(t)) * params.channels;
        return x_load4(line + channel, select(0u, line + params.first + params.part, u32(t) < params.length));
    }
    var state: vec4<f32>;
    if (HAS_INITIAL) {
        for (var n = 0u; n < channels_from(channel); n++) {
            let row = batch * params.channels + channel + n;
            state[n] = initial[row * (WIDTH - 1u) + u32(i32(WIDTH) - 1 + t)];
        }
    }
    return state;
}

// The inputs of a step and of those before it, from those of the step before.
fn advance(before: Taps, newest: vec4<f32>) -> Taps {
    var inputs: Taps;
    for (var k = 0u; k < WIDTH - 1u; k++) {
        inputs[k] = before[k + 1u];
    }
    inputs[WIDTH - 1u] = newest;
    return inputs;
}

// The inputs of the steps before one.
fn inputs_before(batch: u32, t: i32, channel: u32) -> Taps {
    var inputs: Taps;
    for (var k = 1u; k < WIDTH; k++) {
        inputs[k] = load_inputs(batch, t + i32(k) - i32(WIDTH), channel);
    }
    return inputs;
}

// What the k-th tap of a step multiplies.
fn input_of(batch: u32, t: i32, k: u32, channel: u32, inputs: Taps) -> vec4<f32> {
    let lag = WIDTH - 1u - k;
    if (same_sequence(batch, t, lag)) {
        return inputs[k];
    }
    return input_outside(batch, t, lag, channel);
}

// The outputs of a step before the activation.
fn convolve(batch: u32, t: i32, channel: u32, taps: Taps, offsets: vec4<f32>, inputs: Taps) -> vec4<f32> {
    var sum = offsets;
    for (var k = 0u; k < WIDTH; k++) {
        sum = fma(taps[k], input_of(batch, t, k, channel, inputs), sum);
    }
    return sum;
}
