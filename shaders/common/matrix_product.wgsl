// A product on matrix units: for every tile of lines x outputs, product[line, output] = sum over steps of left[line, step]
// right[step, output]; of several blocks side by side, each with subgroups of its own. Modules say where the operands lie,
// and stage and store them. A subgroup owns some cooperative matrices of the result; the workgroup stages TILE_STEPS of the
// summed dimension in f16. What a lane fetches goes straight into workgroup memory: a version that kept it in an array until
// the next step took many times as long on an H100 as one that did not.

const BLOCKS: u32 = 1; // of the tile
const SUBGROUPS_M: u32 = 2; // subgroups of a block along the lines of the tile
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

const SUBGROUPS = BLOCKS * SUBGROUPS_M * SUBGROUPS_N;
const LANES = SUBGROUPS * SUBGROUP_LANES;
const SPAN_LINES = MATRICES_M * SIDE;
const SPAN_OUTPUTS = MATRICES_N * SIDE;
const TILE_LINES = SUBGROUPS_M * SPAN_LINES;
const TILE_OUTPUTS = SUBGROUPS_N * SPAN_OUTPUTS;
// Whether fours of the operands run along steps as they lie in memory, and not along lines or outputs; rows of them, and
// fours of a row.
const LEFT_BY_STEPS = !LEFT_TURNED;
const RIGHT_BY_STEPS = RIGHT_TURNED;
const LEFT_ROWS = select(TILE_STEPS, TILE_LINES, LEFT_BY_STEPS);
const RIGHT_ROWS = select(TILE_STEPS, TILE_OUTPUTS, RIGHT_BY_STEPS);
const LEFT_FOURS = TILE_LINES * TILE_STEPS / 4u / LEFT_ROWS;
const RIGHT_FOURS = TILE_STEPS * TILE_OUTPUTS / 4u / RIGHT_ROWS;
// Rows are padded by two fours, which spreads a column over all banks.
const LEFT_STRIDE = LEFT_FOURS + 2u;
const RIGHT_STRIDE = RIGHT_FOURS + 2u;
const MATRIX_FOURS = SIDE * SIDE / 4u;

const_assert TILE_STEPS % SIDE == 0u;
const_assert BLOCKS * LEFT_ROWS * LEFT_FOURS % LANES == 0u;
const_assert BLOCKS * RIGHT_ROWS * RIGHT_FOURS % LANES == 0u;

var<workgroup> left_tile: array<vec4<f16>, BLOCKS * LEFT_ROWS * LEFT_STRIDE>;
var<workgroup> right_tile: array<vec4<f16>, BLOCKS * RIGHT_ROWS * RIGHT_STRIDE>;
// A matrix of each subgroup on its way out: no more, so that two workgroups fit beside one another.
var<workgroup> sum_tile: array<vec4<f32>, SUBGROUPS * MATRIX_FOURS>;

// A lane's place: in the workgroup, and its subgroup's in the tile.
struct Place {
    rank: u32,
    subgroup: u32,
    block: u32,
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
        lane.subgroup / (SUBGROUPS_M * SUBGROUPS_N),
        lane.subgroup / SUBGROUPS_N % SUBGROUPS_M * SPAN_LINES,
        lane.subgroup % SUBGROUPS_N * SPAN_OUTPUTS,
    );
    var sum_m0_n0: Sum; // each m n
    let steps = steps_of(tile);
    for (var step = 0u; step < steps; step += TILE_STEPS) {
        let source = source_of(tile, step);
        stage_left(place.rank, tile, source);
        stage_right(place.rank, tile, source);
        workgroupBarrier();
        { // each k
            let right_n0 = right_at(place, k0 * SIDE, n0 * SIDE); // each n
            { // each m
                let left = left_at(place, m0 * SIDE, k0 * SIDE);
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
        store_matrices(place, tile, m0 * SIDE, n0 * SIDE);
        workgroupBarrier();
    }
}

fn left_at(place: Place, first_line: u32, step: u32) -> Left {
    let plane = place.block * LEFT_ROWS * LEFT_STRIDE;
    let line = place.line + first_line;
    if (LEFT_BY_STEPS) {
        return coopLoadT<Left>(&left_tile[plane + line * LEFT_STRIDE + step / 4u], LEFT_STRIDE);
    }
    return coopLoad<Left>(&left_tile[plane + step * LEFT_STRIDE + line / 4u], LEFT_STRIDE);
}

fn right_at(place: Place, step: u32, first_output: u32) -> Right {
    let plane = place.block * RIGHT_ROWS * RIGHT_STRIDE;
    let output = place.output + first_output;
    if (RIGHT_BY_STEPS) {
        return coopLoad<Right>(&right_tile[plane + output * RIGHT_STRIDE + step / 4u], RIGHT_STRIDE);
    }
    return coopLoadT<Right>(&right_tile[plane + step * RIGHT_STRIDE + output / 4u], RIGHT_STRIDE);
}
