// A lane's share of a row: ITEMS consecutive steps of h_t = a_t h_(t-1) + b_t, in the order in which the scan takes
// them. The kernel declares LANES, ITEMS and the tensors a and b; its params have `length`, `chunk` and `chunks`.

const REVERSE: bool = false; // the scan takes a row's steps from the last to the first
const BEHIND: bool = false; // a step's factor is that of the step before it, as the backward pass needs it

const_assert ITEMS % 4u == 0u;

// Where a chunk lies in its row, counted in chunks.
fn chunk_place(chunk: u32) -> u32 {
    return select(chunk, params.chunks - 1u - chunk, REVERSE);
}

// The first step of the i-th tile of those from `first` to before `end`.
fn tile_start(i: u32, first: u32, end: u32) -> u32 {
    return first + select(i, tile_count(first, end) - 1u - i, REVERSE) * LANES * ITEMS;
}

fn tile_count(first: u32, end: u32) -> u32 {
    return (end - first + LANES * ITEMS - 1u) / (LANES * ITEMS);
}

// The first step of a lane, wherever the scan begins.
fn lane_start(tile: u32, rank: u32) -> u32 {
    return tile + select(rank, LANES - 1u - rank, REVERSE) * ITEMS;
}

// Where among a lane's steps the scan takes the i-th.
fn turn(i: u32) -> u32 {
    return select(i, ITEMS - 1u - i, REVERSE);
}

// Steps from `end` on do nothing to the state.
fn load_steps(row: u32, start: u32, end: u32) -> array<vec2<f32>, ITEMS> {
    var steps: array<vec2<f32>, ITEMS>;
    for (var i = 0u; i < ITEMS; i += 4u) {
        let a4 = a_load4(start + i, end);
        let b4 = b_load4(start + i, end);
        for (var n = 0u; n < 4u; n++) {
            steps[turn(i + n)] = vec2<f32>(select(1.0, a4[n], start + i + n < end), b4[n]);
        }
    }
    if (BEHIND) {
        for (var i = ITEMS - 1u; i > 0u; i--) {
            steps[i].x = steps[i - 1u].x;
        }
        steps[0].x = factor_behind(row, start);
        for (var i = 0u; i < ITEMS; i++) {
            steps[i].x = select(1.0, steps[i].x, start + turn(i) < end);
        }
    }
    return steps;
}

// The factor of the step that the scan took before the lane's first; before the row's first there is none.
fn factor_behind(row: u32, start: u32) -> f32 {
    let end = row + params.length;
    if (REVERSE) {
        let behind = start + ITEMS;
        if (behind < end) {
            return a_load(behind);
        }
    } else if (start > row && start <= end) {
        return a_load(start - 1u);
    }
    return 1.0;
}

// A single step's factor is the caller's own and has not overflown, which spares the check that `apply` makes.
fn take_step(step: vec2<f32>, state: f32) -> f32 {
    return fma(step.x, state, step.y);
}

fn compose_steps(steps: array<vec2<f32>, ITEMS>) -> vec2<f32> {
    var all = steps[0];
    for (var i = 1u; i < ITEMS; i++) {
        all = vec2<f32>(product(all.x, steps[i].x), take_step(steps[i], all.y));
    }
    return all;
}
