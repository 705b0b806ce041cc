// The keys of a sequence lie one after another.
fn key_place(task: Task, key: u32) -> u32 {
    return task.sequence.k_start + key;
}
