// A linear scan as a loop: one lane takes one row, a step at a time. A dispatch takes some of the steps, since drivers
// end kernels that run for seconds, and a software one gives up loops of more than 65,535 turns.

struct Params {
    groups: u32, // rows, by LANES
    length: u32, // steps in a row
    rows: u32,
    first: u32,  // the steps of this dispatch, from a multiple of 4
    end: u32,    // to before this one
}

const LANES: u32 = 64;
const HAS_INITIAL: bool = true; // without, rows begin with 0 and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<a_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> b: array<b_word>; // (rows, length)
@group(0) @binding(3) var<storage, read> initial: array<f32>; // (rows)
@group(0) @binding(4) var<storage, read_write> h: array<h_word>; // (rows, length)
@group(0) @binding(5) var<storage, read_write> last: array<f32>; // (rows), the states after this dispatch

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
    var state = 0.0;
    if (params.first > 0u) {
        state = last[row];
    } else if (HAS_INITIAL) {
        state = initial[row];
    }
    let end = row * params.length + params.end;
    for (var i = row * params.length + params.first; i < end; i += 4u) {
        let a4 = a_load4(i, end);
        let b4 = b_load4(i, end);
        var four: vec4<f32>;
        for (var n = 0u; n < 4u; n++) {
            if (i + n < end) {
                state = apply(vec2<f32>(a4[n], b4[n]), state);
                four[n] = state;
            }
        }
        h_store4(i, end, four);
    }
    last[row] = state;
}
