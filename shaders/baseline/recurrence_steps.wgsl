// What a step of a yardstick's recurrence is: its size, and how fast states decay with it.

const ONE_DECAY: bool = true; // all states of a channel decay alike
const SOFTPLUS: bool = true; // step sizes pass through one

fn raw_size(row: u32, t: u32) -> f32 {
    let head = row % params.channels / params.share;
    let place = row / params.channels * params.dt_batch + head * params.dt_head + t * params.dt_step;
    return dt_load(place) + packed[params.first_bias + head];
}

fn step_size(row: u32, t: u32) -> f32 {
    let raw = raw_size(row, t);
    if (SOFTPLUS) {
        return softplus(vec4<f32>(raw)).x;
    }
    return raw;
}

fn size_slope(row: u32, t: u32) -> f32 {
    let raw = raw_size(row, t);
    // Above 20 a softplus is linear, and the sigmoid rounds to 1.
    return select(1.0, sigmoid(vec4<f32>(raw)).x, SOFTPLUS);
}

fn weight(size: f32) -> f32 {
    return size;
}

fn decay(row: u32, n: u32, t: u32, size: f32) -> f32 {
    return exp(size * decay_rate(row, n));
}

// What a state adds to the gradient of a step's size, from those of its weight and of its decay's logarithm.
fn size_part(row: u32, n: u32, of_weight: f32, of_log: f32) -> f32 {
    return fma(decay_rate(row, n), of_log, of_weight);
}

// And what a step adds to that of a state's rate.
fn rate_part(size: f32, of_log: f32) -> f32 {
    return size * of_log;
}

fn decay_rate(row: u32, n: u32) -> f32 {
    let head = row % params.channels / params.share;
    if (ONE_DECAY) {
        return packed[head];
    }
    return packed[head * STATES + n];
}
