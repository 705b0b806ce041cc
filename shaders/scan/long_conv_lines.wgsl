// Two opposite lines of a transform in a tile. The kernel declares TILE.

// The place in the whole transform of a place in the tile.
fn number_at(line_pair: u32, place: u32) -> u32 {
    let width = TILE / 2u;
    let line = select(2u * line_pair, opposite(2u * line_pair), place >= width);
    return line * width + place % width;
}

// The place in the tile of the opposite frequency. Lines 0 and 1 are their own opposites.
fn opposite_in(line_pair: u32, place: u32) -> u32 {
    return select(TILE - 1u - place, opposite(place), line_pair == 0u);
}
