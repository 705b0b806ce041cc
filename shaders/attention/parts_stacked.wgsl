// Parts that lie one after the other, as attention/forward leaves the splits of its keys: with UNSEEN for the
// log-sum-exp of a split that sees no key. The kernel's params hold `rows`.

@group(0) @binding(0) var<storage, read> parts: array<parts_word>; // (parts, batch, q_len, heads, VALUE_DIM)
@group(0) @binding(1) var<storage, read> part_lse: array<f32>; // (parts, batch, heads, q_len)

fn part_log_sum(part: u32, at: u32) -> f32 {
    return part_lse[part * params.rows + at];
}

fn part_load4(part: u32, i: u32, end: u32) -> vec4<f32> {
    let start = part * params.rows * VALUE_DIM;
    return parts_load4(start + i, start + end);
}
