// Two parts of the caller's, each an output of attention to other keys.

@group(0) @binding(0) var<storage, read> o_a: array<o_a_word>; // (batch, q_len, heads, VALUE_DIM)
@group(0) @binding(1) var<storage, read> lse_a: array<u32>; // (batch, heads, q_len), the bits of f32
@group(0) @binding(2) var<storage, read> o_b: array<o_b_word>;
@group(0) @binding(3) var<storage, read> lse_b: array<u32>;

fn part_log_sum(part: u32, at: u32) -> f32 {
    var bits = 0u;
    if (part == 0u) {
        bits = lse_a[at];
    } else {
        bits = lse_b[at];
    }
    // Minus infinity is told by its bits: compilers may assume that no f32 is infinite.
    return select(bitcast<f32>(bits), UNSEEN, bits == 0xff800000u);
}

fn part_load4(part: u32, i: u32, end: u32) -> vec4<f32> {
    if (part == 0u) {
        return o_a_load4(i, end);
    }
    return o_b_load4(i, end);
}
