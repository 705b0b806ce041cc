// The gradients of a linear scan as a loop: one lane takes one row, a step at a time from the last to the first. A
// dispatch takes some of the steps, as that of the scan does.

struct Params {
    groups: u32, // rows, by LANES
    length: u32, // steps in a row
    rows: u32,
    first: u32,  // the steps of this dispatch, from this one
    end: u32,    // to before this one
}

const LANES: u32 = 64;
const HAS_INITIAL: bool = true; // without, rows began with 0 and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<a_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> h: array<h_word>; // (rows, length)
@group(0) @binding(3) var<storage, read> initial: array<f32>; // (rows)
@group(0) @binding(4) var<storage, read> dh: array<dh_word>; // (rows, length)
@group(0) @binding(5) var<storage, read_write> da: array<da_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> db: array<db_word>; // (rows, length)
@group(0) @binding(7) var<storage, read_write> dinitial: array<f32>; // (rows), of the states before this dispatch's steps

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts) * LANES + lane;
    if (row < params.rows) {
        scan_row(row);
    }
}

fn scan_row(row: u32) {
    var back = 0.0;
    if (params.end < params.length) {
        back = dinitial[row];
    }
    for (var t = params.end; t > params.first; t--) {
        let i = row * params.length + t - 1u;
        let gradient = dh_load(i) + back;
        db_store(i, gradient);
        da_store(i, gradient * state_before(row, i));
        back = gradient * a_load(i);
    }
    dinitial[row] = back;
}
