// Linear biases, as the built-in ALiBi; `slopes` holds one for each head.

fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    let after = i32(j + q_len(b) - i - k_len(b));
    return score - slopes(h) * f32(abs(after));
}

fn score_mod_bwd(dscore_out: f32, score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    return dscore_out;
}
