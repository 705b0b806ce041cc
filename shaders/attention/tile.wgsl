// The two products of a tile, and the workgroup memory that they share. Both are done alike: slices of the left and the
// right factor are staged, and a lane multiplies ROW_FOURS x 4 rows by four columns, or by fours of columns that lie
// COLUMN_LANES fours apart, so that neighbouring lanes read neighbouring words.

const ROW_LANES: u32 = 16;    // lanes down a tile
const COLUMN_LANES: u32 = 8;  // lanes across a tile
const ROW_FOURS: u32 = 1;     // fours of rows a lane
const SLICE: u32 = 32;        // of a row's width, staged at a time for dot products
const COLUMN_SLICE: u32 = 16; // columns whose rows are staged at a time for weighted sums
const WIDEST: u32 = 64;       // row of a weighted sum

const LANES = ROW_LANES * COLUMN_LANES;
const REDUCE_LANES = COLUMN_LANES;
const ROWS = ROW_LANES * ROW_FOURS * 4u;
const COLUMNS = COLUMN_LANES * 4u;
// Rows of workgroup memory are an odd number of fours apart, which spreads a column over all banks.
const LEFT_STRIDE = max(SLICE, COLUMNS) / 4u + 1u;
const RIGHT_STRIDE = COLUMNS / 4u + 1u;

const_assert SLICE % 4u == 0u;
const_assert COLUMN_SLICE % 4u == 0u;
const_assert COLUMNS % COLUMN_SLICE == 0u;

// The left factor, row by row: rows of a tensor, then weights.
var<workgroup> left: array<vec4<f32>, ROWS * LEFT_STRIDE>;
// The right factor, the summed dimension down and columns across: rows of a tensor turned, then rows as they are.
var<workgroup> right: array<vec4<f32>, max(SLICE * RIGHT_STRIDE, COLUMN_SLICE * ((WIDEST + 3u) / 4u))>;

// A lane's place in a tile.
struct Place {
    row: u32,    // the first of its rows
    column: u32, // the first of its fours of columns
}

fn find_place(lane: Lane) -> Place {
    return Place(rank(lane) / COLUMN_LANES * ROW_FOURS * 4u, rank(lane) % COLUMN_LANES);
}

// A lane's share of what is known of each row and column of a tile; a matrix holds four rows of four columns.
alias Scores = array<mat4x4<f32>, ROW_FOURS>;

// Adds the products of the staged slices of rows and columns.
fn add_dots(place: Place, dots: ptr<function, Scores>) {
    for (var four = 0u; four < SLICE / 4u; four++) {
        let columns = right_rows(four * 4u * RIGHT_STRIDE + place.column, RIGHT_STRIDE);
        for (var row = 0u; row < ROW_FOURS; row++) {
            (*dots)[row] = add_product((*dots)[row], left_rows(place.row + row * 4u, four), columns);
        }
    }
}

// The largest of each row that the lane is to measure against: that of the whole tile.
fn share_max(lane: Lane, values: vec4<f32>) -> vec4<f32> {
    return reduce_max(lane, values);
}

// Leaves a lane's share of weights where the weighted sums look for them.
fn stage_weights(place: Place, row: u32, weights: mat4x4<f32>) {
    let at = (place.row + row * 4u) * LEFT_STRIDE + place.column;
    left[at] = weights[0];
    left[at + LEFT_STRIDE] = weights[1];
    left[at + 2u * LEFT_STRIDE] = weights[2];
    left[at + 3u * LEFT_STRIDE] = weights[3];
}

// Four rows of the left factor from `row` on, at one four of the summed dimension.
fn left_rows(row: u32, four: u32) -> mat4x4<f32> {
    let at = row * LEFT_STRIDE + four;
    return mat4x4<f32>(left[at], left[at + LEFT_STRIDE], left[at + 2u * LEFT_STRIDE], left[at + 3u * LEFT_STRIDE]);
}

// Four rows of the right factor, `stride` apart.
fn right_rows(at: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4<f32>(right[at], right[at + stride], right[at + 2u * stride], right[at + 3u * stride]);
}
