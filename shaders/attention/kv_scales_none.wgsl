// Keys and values are what they are stored as.

fn key_scale(task: Task) -> f32 {
    return 1.0;
}

fn value_scale(task: Task) -> f32 {
    return 1.0;
}
