// Rows of a tile are queries of one head.

fn row_count(task: Task) -> u32 {
    return task.sequence.q_len;
}

fn row_query(row: u32) -> u32 {
    return row;
}

fn row_head(task: Task, row: u32) -> u32 {
    return task.head;
}

fn kv_head(task: Task) -> u32 {
    return task.head / (params.heads / params.kv_heads);
}

// The place of a row among all queries of all heads.
fn query_place(task: Task, row: u32) -> u32 {
    return (task.sequence.q_start + row) * params.heads + task.head;
}
