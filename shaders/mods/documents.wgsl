// A query sees the keys of its own document; `documents` (batch, k_len) numbers the document at each position.

fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {
    let row = b * k_len(b);
    // A query that stands before the first key belongs to no document.
    return i + k_len(b) >= q_len(b) && documents(row + i + k_len(b) - q_len(b)) == documents(row + j);
}
