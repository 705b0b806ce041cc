// No dropout.

const DROPOUT = false;

// Which of the weights of one query and four neighbouring keys are kept.
fn keeps(task: Task, head: u32, query: u32, key: u32) -> vec4<bool> {
    return vec4<bool>(true);
}

// The factor of those that are.
fn keep_factor() -> f32 {
    return 1.0;
}
