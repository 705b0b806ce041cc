// Two elements share a word, and the neighbour may belong to another invocation: the halves are set atomically,
// each invocation touching its own bits alone.
alias tensor_word = atomic<u32>;

// Rounds to nearest, ties to even. A NaN keeps its sign and becomes quiet, since rounding could make it infinite.
fn tensor_bits(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    let is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return select(rounded, (bits >> 16u) | 0x40u, is_nan);
}

fn tensor_store(i: u32, value: f32) {
    let shift = 16u * (i % 2u);
    atomicAnd(&tensor[i / 2u], 0xffff0000u >> shift);
    atomicOr(&tensor[i / 2u], tensor_bits(value) << shift);
}
