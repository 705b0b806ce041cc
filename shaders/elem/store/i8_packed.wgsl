// Four elements share a word, and the neighbours may belong to other invocations: bytes are set atomically, each
// invocation touching its own bits alone.
alias tensor_word = atomic<u32>;

fn tensor_store(i: u32, value: f32) {
    let shift = 8u * (i % 4u);
    let bits = bitcast<u32>(i32(clamp(round(value), -127.0, 127.0))) & 0xffu;
    atomicAnd(&tensor[i / 4u], ~(0xffu << shift));
    atomicOr(&tensor[i / 4u], bits << shift);
}
