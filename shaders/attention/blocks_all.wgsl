// No mask of blocks, or none that a tile could be cut by.

fn shows_block(batch: u32, head: u32, query: u32, key: u32) -> bool {
    return true;
}
