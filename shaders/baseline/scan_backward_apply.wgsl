// Last of the array operations of a linear scan's gradients: those of b are what the scanned maps give, and those of a
// these times the states before.

struct Params {
    groups: u32, // rows x steps, by LANES
    length: u32, // steps in a row
    total: u32,  // rows x steps
}

const LANES: u32 = 256;
const HAS_INITIAL: bool = true; // without, rows began with 0 and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<f32>>; // (rows, length), the last step first
@group(0) @binding(2) var<storage, read> a: array<a_word>; // (rows, length)
@group(0) @binding(3) var<storage, read> h: array<h_word>; // (rows, length)
@group(0) @binding(4) var<storage, read> initial: array<f32>; // (rows)
@group(0) @binding(5) var<storage, read_write> da: array<da_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> db: array<db_word>; // (rows, length)
@group(0) @binding(7) var<storage, read_write> dinitial: array<f32>; // (rows)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        let row = i / params.length;
        let first = row * params.length;
        let gradient = pairs[first + params.length - 1u - (i - first)].y;
        db_store(i, gradient);
        da_store(i, gradient * state_before(row, i));
        if (i == first) {
            dinitial[row] = gradient * a_load(i);
        }
    }
}
