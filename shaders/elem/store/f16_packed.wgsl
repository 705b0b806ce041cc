// Two elements share a word, and the neighbour may belong to another invocation: the halves are set atomically,
// each invocation touching its own bits alone.
alias tensor_word = atomic<u32>;

fn tensor_store(i: u32, value: f32) {
    let shift = 16u * (i % 2u);
    let bits = pack2x16float(vec2<f32>(value, 0.0)) & 0xffffu;
    atomicAnd(&tensor[i / 2u], 0xffff0000u >> shift);
    atomicOr(&tensor[i / 2u], bits << shift);
}
