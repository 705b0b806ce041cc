// A bias for each head and each distance from the query's position to the key; distances past REACH share the last one.
// `bias` has shape (heads, 2 REACH + 1), from REACH keys before the position to REACH after it.

const REACH: u32 = 128;

fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    let after = i32(j + q_len(b) - i - k_len(b));
    let place = u32(clamp(after, -i32(REACH), i32(REACH)) + i32(REACH));
    return score + bias(h * (2u * REACH + 1u) + place);
}

fn score_mod_bwd(dscore_out: f32, score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    return dscore_out;
}
