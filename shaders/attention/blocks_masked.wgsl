// A mask of blocks, a bit for each: how many queries and keys a block has, how many blocks there are from one row of
// blocks, head and batch to the next, 0 where they share them, and then the bits.

@group(0) @binding(0) var<storage, read> block_mask: array<u32>;

const FIRST_BITS = 5u;

fn shows_block(batch: u32, head: u32, query: u32, key: u32) -> bool {
    // What lies past the end of the mask is hidden by position.
    let block = batch * block_mask[4] + head * block_mask[3] + query / block_mask[0] * block_mask[2]
        + min(key / block_mask[1], block_mask[2] - 1u);
    let word = min(FIRST_BITS + block / 32u, arrayLength(&block_mask) - 1u);
    return (block_mask[word] >> (block % 32u) & 1u) == 1u;
}
