// A query sees the prefix and the keys up to its own position; `prefix` holds the length of each batch's.

fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {
    return j < prefix(b) || j + q_len(b) <= i + k_len(b);
}
