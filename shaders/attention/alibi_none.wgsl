// No linear biases.

const ALIBI = false;

fn slope(task: Task, row: u32) -> f32 {
    return 0.0;
}
