// A row holds several sequences end to end, and a convolution has a state for each of them. The kernel's params have
// `channels` and `length`.

@group(0) @binding(0) var<storage, read> sequences: array<i32>; // of each step, then where each begins, and the end

fn state_row(batch: u32, t: i32) -> u32 {
    return u32(sequences[clamp(t, 0, i32(params.length) - 1)]);
}

fn first_step(row: u32) -> i32 {
    return sequences[params.length + row];
}

// Whether a step and the one `lag` steps before it belong together.
fn same_sequence(batch: u32, t: i32, lag: u32) -> bool {
    return t - i32(lag) >= first_step(state_row(batch, t));
}

fn begins(batch: u32, t: i32) -> bool {
    return t == first_step(state_row(batch, t));
}

fn ends(batch: u32, t: i32) -> bool {
    return t + 1 == first_step(state_row(batch, t) + 1u);
}

// What a step of four channels takes in place of an input of another sequence: one of its own sequence's state.
fn input_outside(batch: u32, t: i32, lag: u32, channel: u32) -> vec4<f32> {
    var inputs: vec4<f32>;
    if (HAS_INITIAL) {
        let row = state_row(batch, t);
        let k = u32(i32(WIDTH) - 1 + t - i32(lag) - first_step(row));
        for (var n = 0u; n < channels_from(channel); n++) {
            inputs[n] = initial[(row * params.channels + channel + n) * (WIDTH - 1u) + k];
        }
    }
    return inputs;
}
