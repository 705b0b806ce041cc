// Linear biases, whose slopes attention/backward_rows has left with the rows.

const ALIBI = true;

fn slope(task: Task, row: u32) -> f32 {
    return row_facts(task, row).z;
}
