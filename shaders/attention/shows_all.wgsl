// No masks beyond positions.

// Whether `shows` may hide keys that `sees` shows.
const MASKED = false;

// Which of four neighbouring keys the query sees by masks other than its position.
fn shows(task: Task, head: u32, query: u32, key: u32) -> vec4<bool> {
    return vec4<bool>(true);
}
