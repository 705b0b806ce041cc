// Rows of a tile are the queries of all heads that share a key head: query by query, and head by head for each. Few queries
// fill a tile so, and keys and values are read once for all of them.

fn group_heads() -> u32 {
    return params.heads / params.kv_heads;
}

fn row_count(task: Task) -> u32 {
    return task.sequence.q_len * group_heads();
}

fn row_query(row: u32) -> u32 {
    return row / group_heads();
}

fn row_head(task: Task, row: u32) -> u32 {
    return task.head * group_heads() + row % group_heads();
}

fn kv_head(task: Task) -> u32 {
    return task.head;
}

// The place of a row among all queries of all heads.
fn query_place(task: Task, row: u32) -> u32 {
    return (task.sequence.q_start + row_query(row)) * params.heads + row_head(task, row);
}
