// Last of the array operations of an unfused linear scan: the states that the scanned maps give.

struct Params {
    groups: u32, // rows x steps, by 4 LANES
    length: u32, // steps in a row
    total: u32,  // rows x steps
}

const LANES: u32 = 256;
const HAS_INITIAL: bool = true; // without, rows begin with 0 and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<f32>>; // (rows, length)
@group(0) @binding(2) var<storage, read> initial: array<f32>; // (rows)
@group(0) @binding(3) var<storage, read_write> h: array<h_word>; // (rows, length)
@group(0) @binding(4) var<storage, read_write> last: array<f32>; // (rows), the states after the last step

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let start = 4u * (flat_group(group_id, group_counts) * LANES + lane);
    var four: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        let i = start + n;
        if (i < params.total) {
            let row = i / params.length;
            var state = 0.0;
            if (HAS_INITIAL) {
                state = initial[row];
            }
            four[n] = apply(pairs[i], state);
            if (i % params.length == params.length - 1u) {
                last[row] = four[n];
            }
        }
    }
    h_store4(start, params.total, four);
}
