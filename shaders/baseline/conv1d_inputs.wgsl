// The k-th of the WIDTH - 1 inputs before a step, the oldest first.
fn input_before(row: u32, t: u32, k: u32) -> f32 {
    let lag = WIDTH - 1u - k;
    if (t >= lag) {
        return x_load(row * params.length + t - lag);
    }
    if (HAS_INITIAL) {
        return initial[row * (WIDTH - 1u) + t + k];
    }
    return 0.0;
}
