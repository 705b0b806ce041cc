// Where the yardsticks of convolutions find their inputs.

const CHANNELS_LAST: bool = false; // (batch, length, channels), and not (rows, length)

fn place(row: u32, t: u32) -> u32 {
    if (CHANNELS_LAST) {
        return (row / params.channels * params.length + t) * params.channels + row % params.channels;
    }
    return row * params.length + t;
}

// The k-th of the WIDTH - 1 inputs before a step, the oldest first.
fn input_before(row: u32, t: u32, k: u32) -> f32 {
    let lag = WIDTH - 1u - k;
    if (t >= lag) {
        return x_load(place(row, t - lag));
    }
    if (HAS_INITIAL) {
        return initial[row * (WIDTH - 1u) + t + k];
    }
    return 0.0;
}
