// The states of a linear scan, given the state with which each chunk begins. It is the last of the three phases of a
// long scan, and the whole of a scan whose rows are one chunk each. A workgroup takes one chunk, a tile of
// LANES x ITEMS steps at a time.

struct Params {
    groups: u32, // rows x chunks
    length: u32, // steps in a row
    chunk: u32,  // steps in a chunk, a multiple of the tile
    chunks: u32, // chunks in a row
}

const LANES: u32 = 256;
const ITEMS: u32 = 8; // steps a lane
const HAS_CARRY: bool = true; // without, chunks begin with 0 and `carries` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<a_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> b: array<b_word>; // (rows, length)
@group(0) @binding(3) var<storage, read> carries: array<f32>; // (rows, chunks)
@group(0) @binding(4) var<storage, read_write> last: array<f32>; // (rows), what is left after the last step

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
    let chunk = group % params.chunks;
    let row = (group / params.chunks) * params.length;
    let first = row + chunk_place(chunk) * params.chunk;
    let end = min(first + params.chunk, row + params.length);
    var state = 0.0;
    if (HAS_CARRY) {
        state = carries[group];
    }
    for (var i = 0u; i < tile_count(first, end); i++) {
        let start = lane_start(tile_start(i, first, end), rank(lane));
        let steps = load_steps(row, start, end);
        let scan = scan_lanes(lane, compose_steps(steps));
        take_steps(row, start, end, apply(scan.before, state), steps);
        state = apply(scan.total, state);
    }
    if (rank(lane) == 0u && chunk == params.chunks - 1u) {
        last[group / params.chunks] = row_result(row, state);
    }
}

fn take_steps(row: u32, start: u32, end: u32, before: f32, steps: array<vec2<f32>, ITEMS>) {
    var state = before;
    var states: array<f32, ITEMS>;
    for (var i = 0u; i < ITEMS; i++) {
        state = take_step(steps[i], state);
        states[turn(i)] = state;
    }
    store_states(row, start, end, states);
}
