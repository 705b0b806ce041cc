// Sums of rows of `tensor`, which are WIDTH wide, weighted by what a group of lanes holds for each row and column of its
// own. A lane takes fours of the width that lie PART_LANES fours apart.

const TENSOR_FOURS = (WIDTH + 3u) / 4u;
const TENSOR_LANE_FOURS = (TENSOR_FOURS + PART_LANES - 1u) / PART_LANES;

// A lane's share.
alias TENSOR_Sums = array<mat4x4<f32>, ROW_FOURS * TENSOR_LANE_FOURS>;

// Adds the rows that belong to the group's columns. Where a weight of 0 may stand for a row that is not seen, `guarded`
// keeps that row's infinities out: 0 times infinity would be NaN.
fn add_weighted_tensor(
    lane: Lane,
    place: Place,
    task: Task,
    column: u32,
    guarded: bool,
    sums: ptr<function, TENSOR_Sums>,
) {
    let first = column + place.column * 4u;
    for (var part = 0u; part < TENSOR_LANE_FOURS; part++) {
        let four = (place.part + part * PART_LANES) * 4u;
        let values = mat4x4<f32>(
            tensor_four(task, first, four),
            tensor_four(task, first + 1u, four),
            tensor_four(task, first + 2u, four),
            tensor_four(task, first + 3u, four),
        );
        for (var row = 0u; row < ROW_FOURS; row++) {
            let sum = row * TENSOR_LANE_FOURS + part;
            if (guarded) {
                (*sums)[sum] = add_seen_product((*sums)[sum], lane_weights[row], values);
            } else {
                (*sums)[sum] = add_product((*sums)[sum], lane_weights[row], values);
            }
        }
    }
}

// The four of the width that a lane's share holds when groups are put together; past the last in lanes that hold none.
fn TENSOR_column(place: Place, part: u32) -> u32 {
    return select(TENSOR_FOURS, place.part + part * PART_LANES, place.column == 0u);
}
