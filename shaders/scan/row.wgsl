// A lane's share of a row: ITEMS consecutive steps, in the order in which the scan takes them. ROW_LANES lanes take a row
// together. The kernel declares ITEMS; its params have `length`, `chunk` and `chunks`. Places are counted through all rows;
// tensors are bound from `origin` on.

const REVERSE: bool = false; // the scan takes a row's steps from the last to the first

const_assert ITEMS % 4u == 0u;

// Where a chunk lies in its row, counted in chunks.
fn chunk_place(chunk: u32) -> u32 {
    return select(chunk, params.chunks - 1u - chunk, REVERSE);
}

// The first step of the i-th tile of those from `first` to before `end`.
fn tile_start(i: u32, first: u32, end: u32) -> u32 {
    return first + select(i, tile_count(first, end) - 1u - i, REVERSE) * ROW_LANES * ITEMS;
}

fn tile_count(first: u32, end: u32) -> u32 {
    return (end - first + ROW_LANES * ITEMS - 1u) / (ROW_LANES * ITEMS);
}

// The first step of a lane, wherever the scan begins.
fn lane_start(tile: u32, rank: u32) -> u32 {
    let place = rank % ROW_LANES;
    return tile + select(place, ROW_LANES - 1u - place, REVERSE) * ITEMS;
}

// Where among a lane's steps the scan takes the i-th.
fn turn(i: u32) -> u32 {
    return select(i, ITEMS - 1u - i, REVERSE);
}

fn compose_steps(steps: array<Map, ITEMS>) -> Map {
    var all = steps[0];
    for (var i = 1u; i < ITEMS; i++) {
        all = compose_step(all, steps[i]);
    }
    return all;
}
