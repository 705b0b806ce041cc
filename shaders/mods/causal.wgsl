// A query sees the keys up to its own position, as with the built-in causal mask.

fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {
    return j + q_len(b) <= i + k_len(b);
}
