// A tile of rows by columns on matrix units, and the workgroup memory by which matrices and lanes exchange what they have:
// matrices let no lane see an element.

const SUBGROUPS: u32 = 4;
const SUBGROUP_LANES: u32 = 32;
const SUBGROUP_ROWS: u32 = 32; // rows of a subgroup, each of which has one lane or two
const COLUMNS: u32 = 16;       // of the tile

const ROWS = SUBGROUPS * SUBGROUP_ROWS;
const LANES = SUBGROUPS * SUBGROUP_LANES;
const ROW_LANES = SUBGROUP_LANES / SUBGROUP_ROWS;
const COLUMN_FOURS = COLUMNS / 4u;
const SIDE_FOURS = SIDE / 4u;
// Rows of workgroup memory are padded, which spreads a column over all banks; each begins at a multiple of 16 bytes.
const LEFT_STRIDE = COLUMN_FOURS + 2u;
const SUM_STRIDE = COLUMN_FOURS + 1u;

const_assert COLUMNS % SIDE == 0u;

// Rows of a tensor at first, then weights: left factors.
var<workgroup> left: array<vec4<f16>, ROWS * LEFT_STRIDE>;
// Products, and outputs on their way.
var<workgroup> sums: array<vec4<f32>, ROWS * SUM_STRIDE>;
// Not 0 where something that was staged is infinite or NaN, and some row may have no weight for it.
var<workgroup> wild: vec4<u32>;

// A lane's place in the tile.
struct Place {
    rank: u32,  // of the lane in the workgroup
    row: u32,   // that it works on
    part: u32,  // which of the row's lanes it is
    first: u32, // row of the subgroup
}

fn find_place(lane: Lane) -> Place {
    let first = lane.subgroup * SUBGROUP_ROWS;
    return Place(rank(lane), first + lane.index % SUBGROUP_ROWS, lane.index / SUBGROUP_ROWS, first);
}

// Where one of the subgroup's matrices begins.
fn left_place(place: Place, row: u32, column: u32) -> u32 {
    return (place.first + row * SIDE) * LEFT_STRIDE + column * SIDE_FOURS;
}

fn matrix_place(place: Place, row: u32, column: u32) -> u32 {
    return (place.first + row * SIDE) * SUM_STRIDE + column * SIDE_FOURS;
}

// Which four of its row is the lane's.
fn lane_four(place: Place, turn: u32) -> u32 {
    return turn * ROW_LANES + place.part;
}

// A four of products that lie in `sums`.
fn products4(place: Place, turn: u32) -> vec4<f32> {
    return sums[place.row * SUM_STRIDE + lane_four(place, turn)];
}

// Leaves a four of weights in `left`.
fn stage_weights4(place: Place, turn: u32, weights: vec4<f32>) {
    left[place.row * LEFT_STRIDE + lane_four(place, turn)] = vec4<f16>(weights);
}

// Whether some row may have no weight for some column of the tile. A weight of 0 would make NaNs of what is infinite.
fn is_partial(visit: Visit) -> bool {
    return DROPOUT || !visit.whole;
}

// Sums over a row, of what its lanes have.
fn row_total(total: vec4<f32>) -> vec4<f32> {
    if (ROW_LANES == 2u) {
        return total + subgroupShuffleXor(total, SUBGROUP_ROWS);
    }
    return total;
}

// A visit of the share, or its last one past the end: what is fetched of that is not used.
fn find_shared_visit(task: Task, visits: Visits, share: Share, index: u32) -> Visit {
    if (share.first >= share.end) {
        return Visit();
    }
    return find_visit(task, visits, min(index, share.end - 1u));
}
