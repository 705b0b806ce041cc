// What there is of each head in one buffer, for adapters that bind too few: sinks, scales and slopes, each as in the files
// attention/sinks_*, attention/kv_scales_* and attention/alibi_*.

const SINKS: bool = false;
const SCALED: bool = false;
const ALIBI: bool = false;

@group(0) @binding(0) var<storage, read> head_facts: array<f32>; // what there is of: sinks (heads); scales (2, kv_heads) of keys, then of values; slopes (heads) or (batch, heads)

fn sink(head: u32) -> f32 {
    if (SINKS) {
        return head_facts[head];
    }
    return HIDDEN;
}

fn key_scale(task: Task) -> f32 {
    if (SCALED) {
        return head_facts[first_scale() + kv_head(task)];
    }
    return 1.0;
}

fn value_scale(task: Task) -> f32 {
    if (SCALED) {
        return head_facts[first_scale() + params.kv_heads + kv_head(task)];
    }
    return 1.0;
}

fn slope(task: Task, row: u32) -> f32 {
    if (ALIBI) {
        let first = first_scale() + select(0u, 2u * params.kv_heads, SCALED);
        return head_facts[first + task.batch * params.slopes + row_head(task, row)];
    }
    return 0.0;
}

fn first_scale() -> u32 {
    return select(0u, params.heads, SINKS);
}
