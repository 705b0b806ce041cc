// What the array operations of an unfused state-space duality are told. A chunk's steps follow one another through all
// batches.

struct Params {
    groups: u32, // invocations, by LANES
    total: u32,  // invocations
    heads: u32,
    head_dim: u32,
    share: u32,  // heads that share b and c
    states: u32, // of a channel
    chunk: u32,  // steps in a chunk
    chunks: u32, // chunks in a batch
}
