// Where the elements of a block-diagonal factor lie. A row on either side of it holds `size` elements of each of
// `blocks` blocks: block after block on both sides of a Monarch product's first factor; interleaved, one element of
// every block before the next, on both sides of its second. That is all there is of the permutations.

fn blocked(block: u32, size: u32, element: u32) -> u32 {
    return block * size + element;
}

fn interleaved(block: u32, blocks: u32, element: u32) -> u32 {
    return element * blocks + block;
}

// The end for a load or store of a line: where the line itself is outside of its tensor, nothing lies before it.
fn end_if(inside: bool, end: u32) -> u32 {
    return select(0u, end, inside);
}
