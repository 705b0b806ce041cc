// Where the yardsticks of diagonal recurrences find their numbers: h_t = exp(dt a) h_(t-1) + dt x_t b_t and y_t = c_t h_t +
// d x_t, a channel each, with `share` channels to a step size and a decay. Selective scans and state-space duality differ
// in the distances between numbers alone; linear attention in its decays too, which are given, and in a factor of y.
// `packed` holds a, d, and the biases of dt.

struct Params {
    groups: u32,         // invocations, by LANES
    rows: u32,           // batch x channels
    channels: u32,
    share: u32,          // channels that share a step size
    skip_share: u32,     // channels that share a d
    group_channels: u32, // channels that share b and c
    length: u32,         // steps in a row
    first: u32,          // the steps of this dispatch, from this one
    end: u32,            // to before this one
    window: u32,         // steps that are worked on at once, where not all are
    x_batch: u32,        // distances in x, z and y
    x_channel: u32,
    x_step: u32,
    dt_batch: u32,       // in dt
    dt_head: u32,
    dt_step: u32,
    b_batch: u32,        // in b and c
    b_group: u32,
    b_state: u32,
    b_step: u32,
    first_skip: u32,     // where in `packed` d begins
    first_bias: u32,     // and the biases
    scale: f32,          // of what is read from the states
}

const STATES: u32 = 16; // of a channel

fn place_x(row: u32, t: u32) -> u32 {
    return row / params.channels * params.x_batch + row % params.channels * params.x_channel + t * params.x_step;
}

fn place_b(row: u32, n: u32, t: u32) -> u32 {
    let group = row % params.channels / params.group_channels;
    return row / params.channels * params.b_batch + group * params.b_group + n * params.b_state + t * params.b_step;
}

fn place_skip(row: u32) -> u32 {
    return params.first_skip + row % params.channels / params.skip_share;
}
