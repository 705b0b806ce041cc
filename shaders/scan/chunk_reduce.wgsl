// First of the three phases of a long scan: what each chunk of each row does to a state, as a map of the operator's.
// A workgroup reduces one chunk, a tile of LANES x ITEMS steps at a time.

struct Params {
    groups: u32, // the window's chunks
    total: u32,  // the chunk before which the window ends, counted through all rows
    first: u32,  // and the one with which it begins
    length: u32, // steps in a row
    chunk: u32,  // steps in a chunk, a multiple of the tile
    chunks: u32, // chunks in a row
    origin: u32, // the value with which the bound parts of tensors begin
}

const LANES: u32 = 256;
const ITEMS: u32 = 8; // steps a lane

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> maps: array<Map>; // (rows, chunks)

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        reduce_chunk(lane, params.first + group);
    }
}

fn reduce_chunk(lane: Lane, index: u32) {
    let row = (index / params.chunks) * params.length;
    let first = row + chunk_place(index % params.chunks) * params.chunk;
    let end = min(first + params.chunk, row + params.length);
    var map = IDENTITY;
    for (var i = 0u; i < tile_count(first, end); i++) {
        let steps = load_steps(row, lane_start(tile_start(i, first, end), rank(lane)), end);
        map = compose(map, scan_lanes(lane, compose_steps(steps)).total);
    }
    if (rank(lane) == 0u) {
        maps[index] = map;
    }
}
