// The blocks that meet in block `n` of a product: of a block-diagonal factor, those of the same number.

fn pair(n: u32) -> vec2<u32> {
    return vec2<u32>(n, n);
}
