// The keys of a sequence lie one after another.

fn key_count(task: Task) -> u32 {
    return task.sequence.k_len;
}

// The place of a key of the task's head among all keys of all key heads.
fn kv_place(task: Task, key: u32) -> u32 {
    return (task.sequence.k_start + key) * params.kv_heads + kv_head(task);
}
