// A row holds several sequences, and a tensor names that of each step. The kernel's params have `channels` and
// `length`; its rows are batch x channels.

@group(0) @binding(0) var<storage, read> sequences: array<i32>; // (batch, length)

// The values that link the four steps from `t` with those `lag` steps earlier, and 0 where such a pair belongs to two
// sequences.
fn within(row: u32, t: i32, lag: u32, values: vec4<f32>) -> vec4<f32> {
    var kept: vec4<f32>;
    for (var n = 0; n < 4; n++) {
        if (same_sequence(row / params.channels, t + n, lag)) {
            kept[n] = values[n];
        }
    }
    return kept;
}

// Whether a step and the one `lag` steps before it belong together. What lies before a row belongs to the sequence of its
// first step.
fn same_sequence(batch: u32, t: i32, lag: u32) -> bool {
    return sequence_at(batch, t) == sequence_at(batch, t - i32(lag));
}

fn sequence_at(batch: u32, t: i32) -> i32 {
    let step = clamp(t, 0, i32(params.length) - 1);
    return sequences[batch * params.length + u32(step)];
}
