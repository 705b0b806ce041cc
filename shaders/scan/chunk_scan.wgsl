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
@group(0) @binding(4) var<storage, read_write> h: array<h_word>; // (rows, length)
@group(0) @binding(5) var<storage, read_write> last: array<f32>; // (rows), the states after the last step

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
    let end = row + min((chunk + 1u) * params.chunk, params.length);
    var state = 0.0;
    if (HAS_CARRY) {
        state = carries[group];
    }
    for (var tile = row + chunk * params.chunk; tile < end; tile += LANES * ITEMS) {
        let start = tile + rank(lane) * ITEMS;
        let steps = load_steps(start, end);
        let scan = scan_lanes(lane, compose_steps(steps));
        store_states(start, end, apply(scan.before, state), steps);
        state = apply(scan.total, state);
    }
    if (rank(lane) == 0u && chunk == params.chunks - 1u) {
        last[group / params.chunks] = state;
    }
}

fn store_states(start: u32, end: u32, before: f32, steps: array<vec2<f32>, ITEMS>) {
    var state = before;
    for (var i = 0u; i < ITEMS; i += 4u) {
        var four: vec4<f32>;
        for (var n = 0u; n < 4u; n++) {
            state = take_step(steps[i + n], state);
            four[n] = state;
        }
        h_store4(start + i, end, four);
    }
}
