// The product of baseline/matmul on matrix units. A subgroup owns 4 x 4 cooperative matrices of the result; the workgroup
// stages TILE_K of the summed dimension in f16. What a lane fetches goes straight into workgroup memory: a version that
// kept it in an array until the next step took many times as long on an H100 as a trial that did not.

const SUBGROUPS_M: u32 = 2; // subgroups along the rows of the tile
const SUBGROUPS_N: u32 = 2; // subgroups along its columns
const SUBGROUP_LANES: u32 = 32;
const TILE_K: u32 = 32;

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
    var sums = SumTile();
    for (var k = 0u; k < params.k; k += TILE_K) {
        stage(place, tile, k);
        workgroupBarrier();
        for (var step = 0u; step < TILE_K; step += SIDE) {
            let right = right_row(place, step);
            sums.row0 = add_row(sums.row0, left_at(place.row, step), right);
            sums.row1 = add_row(sums.row1, left_at(place.row + SIDE, step), right);
            sums.row2 = add_row(sums.row2, left_at(place.row + 2u * SIDE, step), right);
            sums.row3 = add_row(sums.row3, left_at(place.row + 3u * SIDE, step), right);
        }
        // The next step overwrites the tiles.
        workgroupBarrier();
    }
    store_row(place, tile, 0u, sums.row0);
    store_row(place, tile, SIDE, sums.row1);
    store_row(place, tile, 2u * SIDE, sums.row2);
    store_row(place, tile, 3u * SIDE, sums.row3);
}

fn stage(place: Place, tile: Tile, k: u32) {
    for (var i = place.rank; i < TILE_M * TILE_K / 4u; i += LANES) {
        let row = i / (TILE_K / 4u);
        let four = i % (TILE_K / 4u);
        a_tile[row * A_STRIDE + four] = vec4<f16>(a_four(tile.a, tile.m + row, k + four * 4u));
    }
    for (var i = place.rank; i < TILE_N * TILE_K / 4u; i += LANES) {
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

fn right_row(place: Place, k: u32) -> RightRow {
    return RightRow(
        right_at(k, place.column),
        right_at(k, place.column + SIDE),
        right_at(k, place.column + 2u * SIDE),
        right_at(k, place.column + 3u * SIDE),
    );
}

fn right_at(k: u32, column: u32) -> Right {
    if (B_TRANSPOSED) {
        return coopLoad<Right>(&b_tile[column * B_STRIDE + k / 4u], B_STRIDE);
    }
    return coopLoadT<Right>(&b_tile[k * B_STRIDE + column / 4u], B_STRIDE);
}

// Matrices know no bounds and no other type: they leave through workgroup memory, a row of them at a time.
fn store_row(place: Place, tile: Tile, first: u32, sums: SumRow) {
    let start = place.subgroup * SIDE * C_STRIDE;
    coopStoreT(sums.s0, &c_tile[start], C_STRIDE);
    coopStoreT(sums.s1, &c_tile[start + SIDE / 4u], C_STRIDE);
    coopStoreT(sums.s2, &c_tile[start + SIDE / 2u], C_STRIDE);
    coopStoreT(sums.s3, &c_tile[start + SIDE / 4u * 3u], C_STRIDE);
    workgroupBarrier();
    for (var i = place.rank % SUBGROUP_LANES; i < SIDE * SPAN / 4u; i += SUBGROUP_LANES) {
        let row = i / (SPAN / 4u);
        let four = i % (SPAN / 4u);
        store(tile, tile.m + place.row + first + row, tile.n + place.column + four * 4u, c_tile[start + row * C_STRIDE + four]);
    }
    workgroupBarrier();
}
