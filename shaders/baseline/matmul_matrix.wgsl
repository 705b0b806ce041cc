// The product of baseline/matmul on matrix units. A subgroup owns 4 x 4 cooperative matrices of the result; the workgroup
// stages TILE_K of the summed dimension in f16. What a lane fetches goes straight into workgroup memory: a version that
// kept it in an array until the next step took many times as long on an H100 as a trial that did not.

const SUBGROUPS_M: u32 = 2; // subgroups along the rows of the tile
const SUBGROUPS_N: u32 = 2; // subgroups along its columns
const SUBGROUP_LANES: u32 = 32;
const TILE_K: u32 = 32;

// Matrices of a subgroup: m along the rows of its share, n along the columns, k along what is staged.
const m0 = 0u; // each m
const n0 = 0u; // each n
const k0 = 0u; // each k

const SUBGROUPS = SUBGROUPS_M * SUBGROUPS_N;
const LANES = SUBGROUPS * SUBGROUP_LANES;
const SPAN = 4u * SIDE; // rows and columns of a subgroup
const TILE_M = SUBGROUPS_M * SPAN;
const TILE_N = SUBGROUPS_N * SPAN;
// Rows of B as it lies in memory, and fours of one.
const B_ROWS = select(TILE_K, TILE_N, B_TRANSPOSED);
const B_ROW_FOURS = TILE_K * TILE_N / 4u / B_ROWS;
// Rows are padded by two fours, which spreads a column over all banks.
const A_STRIDE = TILE_K / 4u + 2u;
const B_STRIDE = B_ROW_FOURS + 2u;
const C_STRIDE = SPAN / 4u + 1u;

const_assert TILE_K % SIDE == 0u;
const_assert TILE_M * TILE_K % (4u * LANES) == 0u;
const_assert TILE_N * TILE_K % (4u * LANES) == 0u;

var<workgroup> a_tile: array<vec4<f16>, TILE_M * A_STRIDE>;
var<workgroup> b_tile: array<vec4<f16>, B_ROWS * B_STRIDE>;
// A row of each subgroup's matrices on its way out.
var<workgroup> c_tile: array<vec4<f32>, SUBGROUPS * SIDE * C_STRIDE>;

// A lane's place: in the workgroup, and its subgroup's in the tile.
struct Place {
    rank: u32,
    subgroup: u32,
    row: u32,
    column: u32,
}

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_tile(lane, group);
    }
}

fn multiply_tile(lane: Lane, group: u32) {
    let tile = tile_of(group);
    let place = Place(
        rank(lane),
        lane.subgroup,
        lane.subgroup / SUBGROUPS_N * SPAN,
        lane.subgroup % SUBGROUPS_N * SPAN,
    );
    var sum_m0_n0: Sum; // each m n
    for (var k = 0u; k < params.k; k += TILE_K) {
        stage(place, tile, k);
        workgroupBarrier();
        { // each k
            let right_n0 = right_at(k0 * SIDE, place.column + n0 * SIDE); // each n
            { // each m
                let left = left_at(place.row + m0 * SIDE, k0 * SIDE);
                sum_m0_n0 = coopMultiplyAdd(left, right_n0, sum_m0_n0); // each n
            }
        }
        // The next step overwrites the tiles.
        workgroupBarrier();
    }
    // Matrices know no bounds and no other type: they leave through workgroup memory, a row of them at a time.
    { // each m
        coopStoreT(sum_m0_n0, &c_tile[place.subgroup * SIDE * C_STRIDE + n0 * SIDE / 4u], C_STRIDE); // each n
        workgroupBarrier();
        store_row(place, tile, m0 * SIDE);
        workgroupBarrier();
    }
}

// The loops have as many turns for all lanes, so that a compiler knows how many and has the loads of all under way at once.
fn stage(place: Place, tile: Tile, k: u32) {
    for (var turn = 0u; turn < TILE_M * TILE_K / 4u / LANES; turn++) {
        let i = turn * LANES + place.rank;
        let row = i / (TILE_K / 4u);
        let four = i % (TILE_K / 4u);
        a_tile[row * A_STRIDE + four] = vec4<f16>(a_four(tile.a, tile.m + row, k + four * 4u));
    }
    for (var turn = 0u; turn < TILE_N * TILE_K / 4u / LANES; turn++) {
        let i = turn * LANES + place.rank;
        let row = i / B_ROW_FOURS;
        let four = i % B_ROW_FOURS;
        let b_row = row + select(k, tile.n, B_TRANSPOSED);
        let b_column = four * 4u + select(tile.n, k, B_TRANSPOSED);
        b_tile[row * B_STRIDE + four] = vec4<f16>(b_four(tile.b, b_row, b_column));
    }
}

fn left_at(row: u32, k: u32) -> Left {
    return coopLoadT<Left>(&a_tile[row * A_STRIDE + k / 4u], A_STRIDE);
}

fn right_at(k: u32, column: u32) -> Right {
    if (B_TRANSPOSED) {
        return coopLoad<Right>(&b_tile[column * B_STRIDE + k / 4u], B_STRIDE);
    }
    return coopLoadT<Right>(&b_tile[k * B_STRIDE + column / 4u], B_STRIDE);
}

// Stores a row of the subgroup's matrices from `c_tile`.
fn store_row(place: Place, tile: Tile, first: u32) {
    let start = place.subgroup * SIDE * C_STRIDE;
    for (var i = place.rank % SUBGROUP_LANES; i < SIDE * SPAN / 4u; i += SUBGROUP_LANES) {
        let row = i / (SPAN / 4u);
        let four = i % (SPAN / 4u);
        store(tile, tile.m + place.row + first + row, tile.n + place.column + four * 4u, c_tile[start + row * C_STRIDE + four]);
    }
}
