// The blocks that meet in block `n` of a product: of a block-sparse matrix, its row and its column of blocks.

@group(0) @binding(0) var<storage, read> pairs: array<u32>; // (blocks, 2)

fn pair(n: u32) -> vec2<u32> {
    return vec2<u32>(pairs[2u * n], pairs[2u * n + 1u]);
}
