// Passes states from chunk to chunk under the delta rule, where what a chunk adds depends on the state before it:
//
//   S ← decay S + own - S taken
//
// Where each chunk's own sum was, the state with which it begins is left. In reverse, gradients pass from the last chunk
// to the first, what is taken is turned, and what is left is the gradient of the state with which a chunk ends. Rows of a
// state have nothing to do with one another: a workgroup takes some of one head's through all chunks of a run.

struct Params {
    groups: u32, // runs x heads x tiles of rows
    heads: u32,
    x_dim: u32, // rows of a state
    b_dim: u32, // columns of a state
    row_tiles: u32,
    has_initial: u32, // 0: every run begins with 0, and `initial` is not read
}

const ROW_LANES: u32 = 4;     // lanes down a tile, four rows each
const COLUMN_LANES: u32 = 16; // lanes across a state
const FOURS: u32 = 1;         // fours of columns a lane, which lie COLUMN_LANES fours apart
const REVERSE: bool = false;

const NONE = 0xffffffffu;
const LANES = ROW_LANES * COLUMN_LANES;
const COLUMN_FOURS = COLUMN_LANES * FOURS;

@group(0) @binding(0) var<uniform> params: Params;
// The first chunk of each run, the one after its last, and which of the initial and last states are its own; in reverse
// the states it takes are those of its end.
@group(0) @binding(1) var<storage, read> runs: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> totals: array<f32>; // (chunks, heads), logarithms of decays
@group(0) @binding(3) var<storage, read> taken: array<taken_word>; // (chunks, heads, b_dim, b_dim)
@group(0) @binding(4) var<storage, read> initial: array<f32>; // (states, heads, x_dim, b_dim)
@group(0) @binding(5) var<storage, read_write> states: array<f32>; // (chunks, heads, x_dim, b_dim)
@group(0) @binding(6) var<storage, read_write> last: array<f32>; // (states, heads, x_dim, b_dim)

// The tile's rows of the state, of which every lane reads all columns.
var<workgroup> tile: array<vec4<f32>, ROW_LANES * 4u * COLUMN_FOURS>;

// A lane's share of the tile; each matrix holds four rows of four columns.
alias Share = array<mat4x4<f32>, FOURS>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        let head = group / params.row_tiles % params.heads;
        let row = group % params.row_tiles * ROW_LANES * 4u;
        pass_rows(lane, runs[group / params.row_tiles / params.heads], head, row);
    }
}

fn pass_rows(lane: u32, run: vec4<u32>, head: u32, first_row: u32) {
    let taken_state = select(run.z, run.w, REVERSE);
    let left_state = select(run.w, run.z, REVERSE);
    let row = lane / COLUMN_LANES * 4u;
    let column = lane % COLUMN_LANES;
    var share: Share;
    if (params.has_initial != 0u && taken_state != NONE) {
        for (var i = 0u; i < 16u * FOURS; i++) {
            let at = place(first_row + row, column, i);
            if (is_there(first_row + row, column, i)) {
                let cell = (taken_state * params.heads + head) * params.x_dim * params.b_dim + at;
                share[i / 16u][i / 4u % 4u][i % 4u] = initial[cell];
            }
        }
    }
    for (var i = run.x; i < run.y; i++) {
        let record = select(i, run.x + run.y - 1u - i, REVERSE) * params.heads + head;
        for (var j = 0u; j < FOURS; j++) {
            let at = row * COLUMN_FOURS + column + j * COLUMN_LANES;
            tile[at] = share[j][0];
            tile[at + COLUMN_FOURS] = share[j][1];
            tile[at + 2u * COLUMN_FOURS] = share[j][2];
            tile[at + 3u * COLUMN_FOURS] = share[j][3];
        }
        workgroupBarrier();
        pass_chunk(record, first_row + row, row, column, &share);
        // The next state overwrites the tile.
        workgroupBarrier();
    }
    if (left_state != NONE) {
        for (var i = 0u; i < 16u * FOURS; i++) {
            if (is_there(first_row + row, column, i)) {
                let at = place(first_row + row, column, i);
                let cell = (left_state * params.heads + head) * params.x_dim * params.b_dim + at;
                last[cell] = share[i / 16u][i / 4u % 4u][i % 4u];
            }
        }
    }
}

// Leaves the state before a chunk in `states`, and takes the lane's share of it past the chunk.
fn pass_chunk(record: u32, state_row: u32, row: u32, column: u32, share: ptr<function, Share>) {
    let decay = exp(totals[record]);
    let base = record * params.x_dim * params.b_dim;
    var sums: Share;
    for (var four = 0u; four < (params.b_dim + 3u) / 4u; four++) {
        let at = row * COLUMN_FOURS + four;
        let rows = mat4x4<f32>(
            tile[at],
            tile[at + COLUMN_FOURS],
            tile[at + 2u * COLUMN_FOURS],
            tile[at + 3u * COLUMN_FOURS],
        );
        for (var j = 0u; j < FOURS; j++) {
            sums[j] = add_product(sums[j], rows, taken_tile(record, four, column + j * COLUMN_LANES));
        }
    }
    for (var i = 0u; i < 16u * FOURS; i++) {
        if (is_there(state_row, column, i)) {
            let cell = base + place(state_row, column, i);
            let before = (*share)[i / 16u][i / 4u % 4u][i % 4u];
            let own = states[cell];
            states[cell] = before;
            (*share)[i / 16u][i / 4u % 4u][i % 4u] =
                fma(decay, before, own - sums[i / 16u][i / 4u % 4u][i % 4u]);
        }
    }
}

// Four rows and four columns of what a chunk takes, turned in reverse.
fn taken_tile(record: u32, row_four: u32, column_four: u32) -> mat4x4<f32> {
    let row = 4u * select(row_four, column_four, REVERSE);
    let column = 4u * select(column_four, row_four, REVERSE);
    let rows = mat4x4<f32>(
        taken_row(record, row, column),
        taken_row(record, row + 1u, column),
        taken_row(record, row + 2u, column),
        taken_row(record, row + 3u, column),
    );
    if (REVERSE) {
        return transpose(rows);
    }
    return rows;
}

fn taken_row(record: u32, row: u32, column: u32) -> vec4<f32> {
    let line = (record * params.b_dim + row) * params.b_dim;
    let there = row < params.b_dim && column < params.b_dim;
    return taken_load4(line + column, select(0u, line + params.b_dim, there));
}

// Where in a state the i-th element of a lane's share lies.
fn place(row: u32, column: u32, i: u32) -> u32 {
    return (row + i / 4u % 4u) * params.b_dim + 4u * (column + i / 16u * COLUMN_LANES) + i % 4u;
}

fn is_there(row: u32, column: u32, i: u32) -> bool {
    let in_columns = 4u * (column + i / 16u * COLUMN_LANES) + i % 4u < params.b_dim;
    return row + i / 4u % 4u < params.x_dim && in_columns;
}
