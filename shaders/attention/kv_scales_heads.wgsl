// Keys and values are stored as integers, with a scale for each head: scores and outputs take it, not every element.

@group(0) @binding(0) var<storage, read> kv_scales: array<f32>; // (2, kv_heads): of keys, then of values

fn key_scale(task: Task) -> f32 {
    return kv_scales[kv_head(task)];
}

fn value_scale(task: Task) -> f32 {
    return kv_scales[params.kv_heads + kv_head(task)];
}
