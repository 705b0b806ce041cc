// Positions are in blocks of SIZE, and a query sees those of its own.

const SIZE: u32 = 64;

fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool {
    // Moved by a whole number of blocks, so that positions before the first key count up too.
    let ahead = (q_len(b) + SIZE - 1u) / SIZE * SIZE;
    return (i + k_len(b) + ahead - q_len(b)) / SIZE == (j + ahead) / SIZE;
}
