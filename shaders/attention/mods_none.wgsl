// No changes to scores beyond the built-in ones, and no masks beyond positions.

// Whether `modify` changes scores.
const MODIFIED = false;

// Whether `shows` may hide keys that `sees` shows.
const MASKED = false;

// The scores of one query and four neighbouring keys, times log2(e), changed by the user.
fn modify(scores: vec4<f32>, task: Task, head: u32, query: u32, key: u32) -> vec4<f32> {
    return scores;
}

// The gradient of scores before the change, from that after it.
fn modify_backward(gradient: vec4<f32>, scores: vec4<f32>, task: Task, head: u32, query: u32, key: u32) -> vec4<f32> {
    return gradient;
}

// Which of four neighbouring keys the user's mask shows to the query.
fn shows(task: Task, head: u32, query: u32, key: u32) -> vec4<bool> {
    return vec4<bool>(true);
}
