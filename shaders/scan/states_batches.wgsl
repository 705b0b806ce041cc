// A convolution has a state for each batch, in front of its first step.

fn state_row(batch: u32, t: i32) -> u32 {
    return batch;
}

fn begins(batch: u32, t: i32) -> bool {
    return t == 0;
}

fn ends(batch: u32, t: i32) -> bool {
    return t == i32(params.length) - 1;
}

// What a step of four channels takes in place of an input of another sequence.
fn input_outside(batch: u32, t: i32, lag: u32, channel: u32) -> vec4<f32> {
    return vec4<f32>();
}
