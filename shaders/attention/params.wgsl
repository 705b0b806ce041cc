// What every kernel of the family is told at each call; the host fills it alike for all of them.

struct Params {
    groups: u32,    // heads x works x splits
    works: u32,     // tiles of rows, over all sequences
    splits: u32,    // parts of what a tile visits, each for a workgroup of its own
    tiles: u32,     // tiles of rows of a sequence, where all are equally long
    q_len: u32,     // queries and keys of a sequence, where all are equally long
    k_len: u32,
    heads: u32,     // query heads
    kv_heads: u32,  // key and value heads
    batch: u32,     // sequences
    rows: u32,      // queries of all heads and sequences
    key_rows: u32,  // keys of all key heads and sequences
    head_rows: u32, // from one head to the next among numbers of one a query, such as log-sum-exps
    left: i32,      // keys before its own position that a query sees, at most
    right: i32,     // keys after its own position that a query sees, at most
    scale: f32,     // times log2(e)
    softcap: f32,   // times log2(e)
    slopes: u32,    // ALiBi slopes from one batch to the next: 0 where all batches share them
    seed_low: u32,  // of the dropout
    seed_high: u32,
    drop_below: u32, // random words under which a weight is dropped
    keep_factor: f32, // of weights that are kept
    page: u32,      // keys of a page of a cache
    unseen: f32,    // what stands for the log-sum-exp of nothing, minus infinity: WGSL has no literal for it
}
