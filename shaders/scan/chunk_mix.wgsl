// The results of a chunk's steps, from the steps of the chunk and from the state with which it begins:
//
//   out_i = Σ_{j ≤ i} (q_i · k_j) decay_ij weight_j v_j + decay_i S q_i
//
// with decays from after step j, and from the chunk's beginning. In reverse, the sum goes over the steps j ≥ i, the
// state is the gradient of that with which the chunk ends, and the weight is that of the result, not of j. Forward with
// (q, k, v) = (c, b, x) this is a recurrence's result, with (dy, x, b) the gradient of c; in reverse, (b, c, dy) gives
// the gradient of x, and (x, dy, c) that of b. The last two of a group of heads are summed over the heads.
//
// A workgroup takes a tile of results: rows are steps, columns elements of v. As in attention, both factors of every
// product are staged in workgroup memory, and a lane multiplies four rows by fours of columns that lie COLUMN_LANES
// fours apart.

struct Params {
    groups: u32, // chunks x units x tiles
    units: u32,  // heads, or groups of heads whose results are summed
    repeat: u32, // heads of a unit
    row_tiles: u32,
    column_tiles: u32,
    q_share: u32, // heads that share q
    k_share: u32,
    v_share: u32,
    q_dim: u32,   // elements of q and k
    v_dim: u32,   // elements of v and out
    scale: f32,       // of what comes from steps
    state_scale: f32, // of what comes from the state
    skip_head: u32,    // elements of `skip` from head to head
    skip_channel: u32, // and from channel to channel
    tokens: u32,
    plane: u32, // which of the planes of `dots` is the first of this pass
}

const ROW_LANES: u32 = 16; // lanes down a tile
const FOURS: u32 = 2;      // fours of columns a lane
const CHUNK: u32 = 64;     // room for a chunk's steps
const REVERSE: bool = false;
const HAS_STATE: bool = true; // without, results are of the chunk's own steps alone and `states` is not read
const STATE_TURNED: bool = true; // the state's columns are q's elements, its rows v's; otherwise the other way round

const COLUMN_LANES = 8u; // lanes across a tile
const SLICE = 16u;       // of a summed dimension staged at a time
const LANES = ROW_LANES * COLUMN_LANES;
const ROWS = ROW_LANES * 4u;
const STEPS = COLUMN_LANES * 4u; // steps j at a time
const TILE_FOURS = COLUMN_LANES * FOURS;
// Rows of workgroup memory are an odd number of fours apart, which spreads a column over all banks.
const LEFT_STRIDE = STEPS / 4u + 1u;
const STEP_STRIDE = STEPS / 4u + 1u;

const_assert CHUNK % ROWS == 0u && CHUNK % STEPS == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (tokens, heads / q_share, q_dim)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (tokens, heads / k_share, q_dim)
@group(0) @binding(3) var<storage, read> v: array<v_word>; // (tokens, heads / v_share, v_dim)
@group(0) @binding(4) var<storage, read> states: array<states_word>; // (chunks, heads, rows, columns)

// The left factor, row by row: q, then what the steps' products came to.
var<workgroup> left: array<vec4<f32>, ROWS * LEFT_STRIDE>;
// The right factor, the summed dimension down and columns across: k turned, a state, or v.
var<workgroup> right: array<vec4<f32>, SLICE * max(STEP_STRIDE, TILE_FOURS)>;

// What a workgroup works on.
struct Task {
    span: Span,
    chunk: u32,
    unit: u32,
    row: u32,    // the first step of the tile, in the chunk
    column: u32, // the first column of the tile
}

// A lane's place in a tile.
struct Place {
    row: u32,    // the first of its rows
    column: u32, // the first of its fours of columns
}

// A lane's share of a tile; each matrix holds four rows of four columns.
alias Tile = array<mat4x4<f32>, FOURS>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        let tiles = params.row_tiles * params.column_tiles;
        let chunk = group / tiles / params.units;
        let span = span_of(chunk * params.units * params.repeat);
        let row = group / params.column_tiles % params.row_tiles * ROWS;
        let column = group % params.column_tiles * TILE_FOURS * 4u;
        if (row < span.steps) {
            mix_unit(lane, Task(span, chunk, group / tiles % params.units, row, column));
        }
    }
}

fn mix_unit(lane: u32, task: Task) {
    let place = Place(lane / COLUMN_LANES * 4u, lane % COLUMN_LANES);
    var sum: Tile;
    for (var i = 0u; i < params.repeat; i++) {
        // Written out: some compilers clear a variable of a loop only once.
        var part = Tile();
        let own = mix_head(lane, task, place, task.unit * params.repeat + i, &part);
        for (var j = 0u; j < FOURS; j++) {
            sum[j] += scale_rows(part[j], own);
        }
    }
    for (var j = 0u; j < FOURS; j++) {
        let column = task.column + 4u * (place.column + j * COLUMN_LANES);
        store_row(task, place.row, column, sum[j][0]);
        store_row(task, place.row + 1u, column, sum[j][1]);
        store_row(task, place.row + 2u, column, sum[j][2]);
        store_row(task, place.row + 3u, column, sum[j][3]);
    }
}

// One head's results, and what they are still to be multiplied with.
fn mix_head(lane: u32, task: Task, place: Place, head: u32, tile: ptr<function, Tile>) -> vec4<f32> {
    let record = task.chunk * params.units * params.repeat + head;
    stage_steps(lane, LANES, record);
    workgroupBarrier();
    let row_four = (task.row + place.row) / 4u;
    var own = vec4<f32>(1.0);
    var fade = params.state_scale * decays_in(row_four);
    if (REVERSE) {
        own = weights[row_four];
        fade = params.state_scale * decays_out(row_four);
    }
    if (HAS_STATE) {
        read_state(lane, task, place, head, record, tile);
        for (var j = 0u; j < FOURS; j++) {
            (*tile)[j] = scale_rows((*tile)[j], fade);
        }
    }
    let of_state = row_dots(task, place, head, tile);
    let first = select(0u, task.row / STEPS * STEPS, REVERSE);
    let end = select(min(task.row + ROWS, task.span.steps), task.span.steps, REVERSE);
    let tiles = (end - first + STEPS - 1u) / STEPS;
    for (var i = 0u; i < tiles; i++) {
        // From what has decayed most, either way: terms too small for a large sum would each be rounded with it.
        add_steps(lane, task, place, head, first + STEPS * select(i, tiles - 1u - i, REVERSE), tile);
    }
    store_dots(lane, task, place, head, row_dots(task, place, head, tile), of_state);
    return own;
}

// State by q, from slices of q's elements.
fn read_state(lane: u32, task: Task, place: Place, head: u32, record: u32, tile: ptr<function, Tile>) {
    for (var first = 0u; first < params.q_dim; first += SLICE) {
        stage_rows(lane, task, head, first);
        stage_state(lane, task, record, first);
        workgroupBarrier();
        multiply(place, 0u, tile);
        workgroupBarrier();
    }
}

fn add_steps(lane: u32, task: Task, place: Place, head: u32, step: u32, tile: ptr<function, Tile>) {
    var products: mat4x4<f32>;
    for (var first = 0u; first < params.q_dim; first += SLICE) {
        stage_rows(lane, task, head, first);
        stage_steps_turned(lane, task, head, step, first);
        workgroupBarrier();
        for (var four = 0u; four < SLICE / 4u; four++) {
            let columns = right_rows(four * 4u * STEP_STRIDE + place.column, STEP_STRIDE);
            products = add_product(products, left_rows(place.row, four), columns);
        }
        workgroupBarrier();
    }
    let row_four = (task.row + place.row) / 4u;
    let step_four = step / 4u + place.column;
    var factors: mat4x4<f32>;
    var across = vec4<f32>(params.scale);
    if (REVERSE) {
        factors = transpose(decays(step_four, row_four));
    } else {
        factors = decays(row_four, step_four);
        across *= weights[step_four];
    }
    let at = place.row * LEFT_STRIDE + place.column;
    left[at] = products[0] * factors[0] * across;
    left[at + LEFT_STRIDE] = products[1] * factors[1] * across;
    left[at + 2u * LEFT_STRIDE] = products[2] * factors[2] * across;
    left[at + 3u * LEFT_STRIDE] = products[3] * factors[3] * across;
    for (var first = 0u; first < STEPS; first += SLICE) {
        stage_values(lane, task, head, step + first);
        workgroupBarrier();
        multiply(place, first / 4u, tile);
        workgroupBarrier();
    }
}

fn stage_rows(lane: u32, task: Task, head: u32, first: u32) {
    for (var i = lane; i < ROWS * (SLICE / 4u); i += LANES) {
        let row = i / (SLICE / 4u);
        let step = task.row + row;
        let line = line_of(task, step, head, params.q_share, params.q_dim);
        let end = select(0u, line + params.q_dim, step < task.span.steps);
        left[row * LEFT_STRIDE + i % (SLICE / 4u)] = q_load4(line + first + i % (SLICE / 4u) * 4u, end);
    }
}

// A lane takes four elements of four steps at a time, and turns them round.
fn stage_steps_turned(lane: u32, task: Task, head: u32, step: u32, first: u32) {
    for (var i = lane; i < STEPS / 4u * (SLICE / 4u); i += LANES) {
        let column = i / (SLICE / 4u);
        let four = i % (SLICE / 4u);
        let turned = transpose(mat4x4<f32>(
            load_step(task, head, step + column * 4u, first + four * 4u),
            load_step(task, head, step + column * 4u + 1u, first + four * 4u),
            load_step(task, head, step + column * 4u + 2u, first + four * 4u),
            load_step(task, head, step + column * 4u + 3u, first + four * 4u),
        ));
        put_right(four * 4u * STEP_STRIDE + column, STEP_STRIDE, turned);
    }
}

fn load_step(task: Task, head: u32, step: u32, element: u32) -> vec4<f32> {
    let line = line_of(task, step, head, params.k_share, params.q_dim);
    return k_load4(line + element, select(0u, line + params.q_dim, step < task.span.steps));
}

fn stage_values(lane: u32, task: Task, head: u32, first: u32) {
    for (var i = lane; i < SLICE * TILE_FOURS; i += LANES) {
        let step = first + i / TILE_FOURS;
        let line = line_of(task, step, head, params.v_share, params.v_dim);
        let end = select(0u, line + params.v_dim, step < task.span.steps);
        right[i] = v_load4(line + task.column + i % TILE_FOURS * 4u, end);
    }
}

fn stage_state(lane: u32, task: Task, record: u32, first: u32) {
    let base = record * params.q_dim * params.v_dim;
    if (STATE_TURNED) {
        for (var i = lane; i < TILE_FOURS * (SLICE / 4u); i += LANES) {
            let column = i / (SLICE / 4u);
            let four = i % (SLICE / 4u);
            let row = task.column + column * 4u;
            let turned = transpose(mat4x4<f32>(
                load_state(base, row, first + four * 4u),
                load_state(base, row + 1u, first + four * 4u),
                load_state(base, row + 2u, first + four * 4u),
                load_state(base, row + 3u, first + four * 4u),
            ));
            put_right(four * 4u * TILE_FOURS + column, TILE_FOURS, turned);
        }
    } else {
        for (var i = lane; i < SLICE * TILE_FOURS; i += LANES) {
            right[i] = load_state(base, first + i / TILE_FOURS, task.column + i % TILE_FOURS * 4u);
        }
    }
}

fn load_state(base: u32, row: u32, column: u32) -> vec4<f32> {
    let rows = select(params.q_dim, params.v_dim, STATE_TURNED);
    let columns = select(params.v_dim, params.q_dim, STATE_TURNED);
    let line = base + row * columns;
    return states_load4(line + column, select(0u, line + columns, row < rows));
}

fn line_of(task: Task, step: u32, head: u32, share: u32, width: u32) -> u32 {
    return ((task.span.first + step) * (params.units * params.repeat / share) + head / share) * width;
}

// Left by right, SLICE of the summed dimension, which begins at a four of the left factor's rows.
fn multiply(place: Place, first: u32, tile: ptr<function, Tile>) {
    for (var four = 0u; four < SLICE / 4u; four++) {
        let rows = left_rows(place.row, first + four);
        for (var j = 0u; j < FOURS; j++) {
            let at = four * 4u * TILE_FOURS + place.column + j * COLUMN_LANES;
            (*tile)[j] = add_product((*tile)[j], rows, right_rows(at, TILE_FOURS));
        }
    }
}

fn left_rows(row: u32, four: u32) -> mat4x4<f32> {
    let at = row * LEFT_STRIDE + four;
    return mat4x4<f32>(left[at], left[at + LEFT_STRIDE], left[at + 2u * LEFT_STRIDE], left[at + 3u * LEFT_STRIDE]);
}

fn right_rows(at: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4<f32>(right[at], right[at + stride], right[at + 2u * stride], right[at + 3u * stride]);
}

fn put_right(at: u32, stride: u32, rows: mat4x4<f32>) {
    right[at] = rows[0];
    right[at + stride] = rows[1];
    right[at + 2u * stride] = rows[2];
    right[at + 3u * stride] = rows[3];
}

fn store_row(task: Task, row: u32, column: u32, four: vec4<f32>) {
    let step = task.row + row;
    let line = ((task.span.first + step) * params.units + task.unit) * params.v_dim;
    if (step < task.span.steps && column < params.v_dim) {
        finish_four(line + column, line + params.v_dim, task.unit, column, four);
    }
}
