// A mask of blocks, a bit for each: how many queries and keys a block has, how many blocks there are from one row of
// blocks, head and batch to the next, 0 where they share them, and then the bits. `block_word` reads it, and gives 0 past
// its end.

const FIRST_BITS = 5u;

fn shows_block(batch: u32, head: u32, query: u32, key: u32) -> bool {
    // What lies past the end of a row is hidden by position.
    let block = batch * block_word(4u) + head * block_word(3u) + query / block_word(0u) * block_word(2u)
        + key / block_word(1u);
    return ((block_word(FIRST_BITS + block / 32u) >> (block % 32u)) & 1u) == 1u;
}
