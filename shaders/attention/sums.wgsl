// Sums of rows of `tensor`, which are WIDTH wide, weighted by what `left` holds for each row and column of a tile.

const TENSOR_FOURS = (WIDTH + 3u) / 4u;
const TENSOR_LANE_FOURS = (TENSOR_FOURS + COLUMN_LANES - 1u) / COLUMN_LANES; // fours of its columns a lane

// A lane's share.
alias TENSOR_Sums = array<mat4x4<f32>, ROW_FOURS * TENSOR_LANE_FOURS>;

// Adds the rows that belong to the tile's columns, from slices of them. Where a weight of 0 may stand for a row that is
// not seen, `guarded` keeps that row's infinities out: 0 times infinity would be NaN.
fn add_weighted_tensor(
    lane: Lane,
    place: Place,
    task: Task,
    column: u32,
    guarded: bool,
    sums: ptr<function, TENSOR_Sums>,
) {
    for (var first = 0u; first < COLUMNS; first += COLUMN_SLICE) {
        stage_tensor(lane, task, column + first);
        workgroupBarrier();
        for (var four = 0u; four < COLUMN_SLICE / 4u; four++) {
            for (var part = 0u; part < TENSOR_LANE_FOURS; part++) {
                // Columns past the last repeat it, and are not stored.
                let at = min(place.column + part * COLUMN_LANES, TENSOR_FOURS - 1u);
                let values = right_rows(four * 4u * TENSOR_FOURS + at, TENSOR_FOURS);
                for (var row = 0u; row < ROW_FOURS; row++) {
                    let weights = left_rows(place.row + row * 4u, first / 4u + four);
                    let sum = row * TENSOR_LANE_FOURS + part;
                    if (guarded) {
                        (*sums)[sum] = add_seen_product((*sums)[sum], weights, values);
                    } else {
                        (*sums)[sum] = add_product((*sums)[sum], weights, values);
                    }
                }
            }
        }
        workgroupBarrier();
    }
}

// The four of the width that a lane's share holds; past the last in lanes that hold none.
fn TENSOR_column(place: Place, part: u32) -> u32 {
    return place.column + part * COLUMN_LANES;
}

fn stage_tensor(lane: Lane, task: Task, column: u32) {
    for (var i = rank(lane); i < COLUMN_SLICE * TENSOR_FOURS; i += LANES) {
        right[i] = tensor_four(task, column + i / TENSOR_FOURS, i % TENSOR_FOURS * 4u);
    }
}
