// The two products of a tile of few rows, for which staging columns would not pay: a lane alone uses what it reads of them.
// PART_LANES neighbouring lanes share four columns, and neighbours read neighbouring words. Of dot products they share the
// summed dimension and exchange their sums; of weighted sums they share the width. Each such group of lanes goes over its
// own columns with a softmax of its own, and waits for no other until the groups are put together at the end.

const PART_LANES: u32 = 16;  // lanes that share four columns
const COLUMN_LANES: u32 = 8; // groups of them
const ROW_FOURS: u32 = 1;    // fours of rows, the same for all lanes
const DOTS: u32 = 64;        // the width of rows of dot products

const LANES = PART_LANES * COLUMN_LANES;
const REDUCE_LANES = PART_LANES;
const ROWS = ROW_FOURS * 4u;
const COLUMNS = COLUMN_LANES * 4u;
const DOT_FOURS = (DOTS + 3u) / 4u;

// The rows of dot products; at the end what groups exchange.
var<workgroup> left: array<vec4<f32>, max(ROWS * DOT_FOURS, LANES * 4u)>;

// A lane's place in a tile.
struct Place {
    row: u32,    // the first of its rows
    column: u32, // its four of columns
    part: u32,   // its number in the group that shares them
}

fn find_place(lane: Lane) -> Place {
    return Place(0u, rank(lane) / PART_LANES, rank(lane) % PART_LANES);
}

// What is known of each row and column of a group; a matrix holds four rows of four columns.
alias Scores = array<mat4x4<f32>, ROW_FOURS>;

// The weights stay where they are found.
var<private> lane_weights: Scores;

fn stage_weights(place: Place, row: u32, weights: mat4x4<f32>) {
    lane_weights[row] = weights;
}

// The largest over all groups.
fn gather_max(lane: Lane, place: Place, values: vec4<f32>) -> vec4<f32> {
    left[rank(lane)] = values;
    workgroupBarrier();
    var all = left[place.part];
    for (var column = 1u; column < COLUMN_LANES; column++) {
        all = max(all, left[column * PART_LANES + place.part]);
    }
    workgroupBarrier();
    return all;
}

// The sum over all groups, in the lanes of the first.
fn gather_sum(lane: Lane, place: Place, values: mat4x4<f32>) -> mat4x4<f32> {
    for (var n = 0u; n < 4u; n++) {
        left[n * LANES + rank(lane)] = values[n];
    }
    workgroupBarrier();
    var sum = values;
    if (place.column == 0u) {
        for (var column = 1u; column < COLUMN_LANES; column++) {
            let at = column * PART_LANES + place.part;
            sum += mat4x4<f32>(left[at], left[LANES + at], left[2u * LANES + at], left[3u * LANES + at]);
        }
    }
    workgroupBarrier();
    return sum;
}
