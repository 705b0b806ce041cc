// Second of the three phases of a long scan: the value with which each chunk of a row begins. A workgroup takes one
// row, LANES chunks at a time.

struct Params {
    groups: u32,        // rows
    chunks: u32,        // chunks in a row
    first: u32,         // where in `carries` those of the first row begin
    first_initial: u32, // where in `initial` the rows' begin
    first_last: u32,    // where in `last`
}

const LANES: u32 = 256;
const HAS_INITIAL: bool = true; // without, rows begin with the operator's START and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> maps: array<Map>; // (rows, chunks)
@group(0) @binding(2) var<storage, read> initial: array<Value>; // (rows)
@group(0) @binding(3) var<storage, read_write> carries: array<Value>; // (rows, chunks), from `first` on
@group(0) @binding(4) var<storage, read_write> last: array<Value>; // (rows), the values after the last chunk

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts);
    if (row < params.groups) {
        carry_row(lane, row);
    }
}

fn carry_row(lane: Lane, row: u32) {
    var state = START;
    if (HAS_INITIAL) {
        state = initial[params.first_initial + row];
    }
    for (var first = 0u; first < params.chunks; first += LANES) {
        let chunk = first + rank(lane);
        var map = IDENTITY;
        if (chunk < params.chunks) {
            map = maps[row * params.chunks + chunk];
        }
        let scan = scan_lanes(lane, map);
        if (chunk < params.chunks) {
            carries[params.first + row * params.chunks + chunk] = apply(scan.before, state);
        }
        state = apply(scan.total, state);
    }
    if (rank(lane) == 0u) {
        last[params.first_last + row] = state;
    }
}
