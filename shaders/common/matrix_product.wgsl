// A product on matrix units: for every tile of lines x outputs, product[line, output] = sum over steps of left[line, step]
// right[step, output]. A module says where the operands lie. A subgroup owns some cooperative matrices of the result; the
// workgroup stages TILE_STEPS of the summed dimension in f16. What a lane fetches goes straight into workgroup memory: a
// version that kept it in an array until the next step took many times as long on an H100 as one that did not.

const SUBGROUPS_M: u32 = 2; // subgroups along the lines of the tile
const SUBGROUPS_N: u32 = 2; // subgroups along its outputs
const SUBGROUP_LANES: u32 = 32;
const MATRICES_M: u32 = 4; // matrices of a subgroup along its lines
const MATRICES_N: u32 = 4; // and along its outputs
const TILE_STEPS: u32 = 32;
const LEFT_TURNED: bool = false;    // left is stored (steps, lines)
const RIGHT_TURNED: bool = false;   // right is stored (outputs, steps)
const OUTPUTS_TURNED: bool = false; // the result is stored (outputs, lines)

// Matrices of a subgroup: m along its lines, n along its outputs, k along what is staged.
const m0 = 0u; // each m
const n0 = 0u; // each n
const k0 = 0u; // each k

const LANES = SUBGROUPS_M * SUBGROUPS_N * SUBGROUP_LANES;
const SPAN_LINES = MATRICES_M * SIDE;
const SPAN_OUTPUTS = MATRICES_N * SIDE;
const TILE_LINES = SUBGROUPS_M * SPAN_LINES;
const TILE_OUTPUTS = SUBGROUPS_N * SPAN_OUTPUTS;
// Rows of the operands as they lie in memory, and fours of one.
const LEFT_ROWS = select(TILE_LINES, TILE_STEPS, LEFT_TURNED);
const RIGHT_ROWS = select(TILE_STEPS, TILE_OUTPUTS, RIGHT_TURNED);
const LEFT_FOURS = TILE_LINES * TILE_STEPS / 4u / LEFT_ROWS;
const RIGHT_FOURS = TILE_STEPS * TILE_OUTPUTS / 4u / RIGHT_ROWS;
// Rows are padded by two fours, which spreads a column over all banks.
const LEFT_STRIDE = LEFT_FOURS + 2u;
const RIGHT_STRIDE = RIGHT_FOURS + 2u;
const MATRIX_FOURS = SIDE * SIDE / 4u;

const_assert TILE_STEPS % SIDE == 0u;
const_assert LEFT_ROWS * LEFT_FOURS % LANES == 0u;
const_assert RIGHT_ROWS * RIGHT_FOURS % LANES == 0u;

var<workgroup> left_tile: array<vec4<f16>, LEFT_ROWS * LEFT_STRIDE>;
var<workgroup> right_tile: array<vec4<f16>, RIGHT_ROWS * RIGHT_STRIDE>;
// A matrix of each subgroup on its way out: no more, so that two workgroups fit beside one another.
var<workgroup> sum_tile: array<vec4<f32>, SUBGROUPS_M * SUBGROUPS_N * MATRIX_FOURS>;

// A lane's place: in the workgroup, and its subgroup's in the tile.
struct Place {
    rank: u32,
    subgroup: u32,
    line: u32,
    output: u32,
}

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_tile(lane, tile_of(group));
    }
}

fn multiply_tile(lane: Lane, tile: Tile) {
    let place = Place(
        rank(lane),
        lane.subgroup,
        lane.subgroup / SUBGROUPS_N * SPAN_LINES,
        lane.subgroup % SUBGROUPS_N * SPAN_OUTPUTS,
    );
    var sum_m0_n0: Sum; // each m n
    let steps = steps_of(tile);
    for (var step = 0u; step < steps; step += TILE_STEPS) {
        stage(place, tile, source_of(tile, step));
        workgroupBarrier();
        { // each k
            let right_n0 = right_at(k0 * SIDE, place.output + n0 * SIDE); // each n
            { // each m
                let left = left_at(place.line + m0 * SIDE, k0 * SIDE);
                sum_m0_n0 = coopMultiplyAdd(left, right_n0, sum_m0_n0); // each n
            }
        }
        // The next step overwrites the tiles.
        workgroupBarrier();
    }
    // Matrices know no bounds and no other type: they leave through workgroup memory.
    let own = place.subgroup * MATRIX_FOURS;
    { // each m n
        if (OUTPUTS_TURNED) {
            coopStore(sum_m0_n0, &sum_tile[own], SIDE / 4u);
        } else {
            coopStoreT(sum_m0_n0, &sum_tile[own], SIDE / 4u);
        }
        workgroupBarrier();
        store_matrix(place, tile, m0 * SIDE, n0 * SIDE);
        workgroupBarrier();
    }
}

// The loops have as many turns for all lanes, so that a compiler knows how many and has the loads of all under way at once.
fn stage(place: Place, tile: Tile, source: Source) {
    for (var turn = 0u; turn < LEFT_ROWS * LEFT_FOURS / LANES; turn++) {
        let i = turn * LANES + place.rank;
        let row = i / LEFT_FOURS;
        let four = i % LEFT_FOURS;
        let line = select(row, four * 4u, LEFT_TURNED);
        let step = select(four * 4u, row, LEFT_TURNED);
        left_tile[row * LEFT_STRIDE + four] = left_four(tile, source, line, step);
    }
    for (var turn = 0u; turn < RIGHT_ROWS * RIGHT_FOURS / LANES; turn++) {
        let i = turn * LANES + place.rank;
        let row = i / RIGHT_FOURS;
        let four = i % RIGHT_FOURS;
        let step = select(row, four * 4u, RIGHT_TURNED);
        let output = select(four * 4u, row, RIGHT_TURNED);
        right_tile[row * RIGHT_STRIDE + four] = right_four(tile, source, step, output);
    }
}

fn left_at(line: u32, step: u32) -> Left {
    if (LEFT_TURNED) {
        return coopLoad<Left>(&left_tile[step * LEFT_STRIDE + line / 4u], LEFT_STRIDE);
    }
    return coopLoadT<Left>(&left_tile[line * LEFT_STRIDE + step / 4u], LEFT_STRIDE);
}

fn right_at(step: u32, output: u32) -> Right {
    if (RIGHT_TURNED) {
        return coopLoad<Right>(&right_tile[output * RIGHT_STRIDE + step / 4u], RIGHT_STRIDE);
    }
    return coopLoadT<Right>(&right_tile[step * RIGHT_STRIDE + output / 4u], RIGHT_STRIDE);
}

// Stores a matrix of the subgroup, which begins at this line and output of its share.
fn store_matrix(place: Place, tile: Tile, first_line: u32, first_output: u32) {
    for (var i = place.rank % SUBGROUP_LANES; i < MATRIX_FOURS; i += SUBGROUP_LANES) {
        let row = i / (SIDE / 4u);
        let four = i % (SIDE / 4u) * 4u;
        let line = place.line + first_line + select(row, four, OUTPUTS_TURNED);
        let output = place.output + first_output + select(four, row, OUTPUTS_TURNED);
        store(tile, line, output, sum_tile[place.subgroup * MATRIX_FOURS + i]);
    }
}
