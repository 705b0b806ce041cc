// Linear biases, with a slope for each head, or for each head of each batch.

@group(0) @binding(0) var<storage, read> alibi: array<f32>; // (heads) or (batch, heads)

const ALIBI = true;

fn slope(task: Task, row: u32) -> f32 {
    return alibi[task.batch * params.slopes + row_head(task, row)];
}
