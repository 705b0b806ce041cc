// The states of a scan, given the state with which each chunk begins. It is the last of the three phases of a
// long scan, and the whole of a scan whose rows are one chunk each. A workgroup takes one chunk, a tile of
// LANES x ITEMS steps at a time; or several rows so short that each is a tile of ROW_LANES x ITEMS steps.

struct Params {
    groups: u32, // the window's chunks, by ROWS
    total: u32,  // the chunk before which the window ends, counted through all rows
    first: u32,  // and the one with which it begins
    length: u32, // steps in a row
    chunk: u32,  // steps in a chunk, a multiple of the tile
    chunks: u32, // chunks in a row
    origin: u32, // the value with which the bound parts of tensors begin
}

const LANES: u32 = 256;
const ITEMS: u32 = 8; // steps a lane
const ROWS: u32 = LANES / ROW_LANES; // of a workgroup
const HAS_CARRY: bool = true; // without, chunks begin with the operator's START and `carries` is not read
const EXCLUSIVE: bool = false; // a step is given the state before it, and not the one after

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> carries: array<Value>; // (rows, chunks)
@group(0) @binding(2) var<storage, read_write> last: array<Value>; // (rows), what is left after the last step

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        scan_chunk(lane, group);
    }
}

fn scan_chunk(lane: Lane, group: u32) {
    // All rows of a workgroup have as many tiles; loops around barriers must be seen to be the same for all lanes.
    let first_index = params.first + group * ROWS;
    let tiles = chunk_tiles(first_index);
    var index = first_index;
    if (ROWS > 1u) {
        index += rank(lane) / ROW_LANES;
    }
    // Lanes past the last row look at it, and take none of its steps.
    let inside = index < params.total;
    index = min(index, params.total - 1u);
    let chunk = index % params.chunks;
    let row = index / params.chunks * params.length;
    let first = row + chunk_place(chunk) * params.chunk;
    let limit = min(first + params.chunk, row + params.length);
    let end = select(first, limit, inside);
    var state = START;
    if (HAS_CARRY) {
        state = carries[index];
    }
    for (var i = 0u; i < tiles; i++) {
        let start = lane_start(tile_start(i, first, limit), rank(lane));
        let steps = load_steps(row, start, end);
        let scan = scan_lanes(lane, compose_steps(steps));
        take_steps(row, start, end, apply(scan.before, state), steps);
        state = apply(scan.total, state);
    }
    if (inside && rank(lane) % ROW_LANES == 0u && chunk == params.chunks - 1u) {
        last[index / params.chunks] = row_result(row, state);
    }
}

fn chunk_tiles(index: u32) -> u32 {
    let first = chunk_place(index % params.chunks) * params.chunk;
    return tile_count(first, min(first + params.chunk, params.length));
}

fn take_steps(row: u32, start: u32, end: u32, before: Value, steps: array<Map, ITEMS>) {
    var state = before;
    var states: array<Value, ITEMS>;
    for (var i = 0u; i < ITEMS; i++) {
        let after = take_step(steps[i], state);
        states[turn(i)] = select(after, state, EXCLUSIVE);
        state = after;
    }
    store_states(row, start, end, states);
}
