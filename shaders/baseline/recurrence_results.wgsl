// Last of the array operations of an unfused recurrence: the results that the scanned pairs give.

const LANES: u32 = 256;
const GATED: bool = true; // without, `z` is not read
const HAS_INITIAL: bool = true; // without, rows begin with 0 and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<f32>>; // (rows, STATES, length)
@group(0) @binding(2) var<storage, read> x: array<x_word>;
@group(0) @binding(3) var<storage, read> c: array<c_word>;
@group(0) @binding(4) var<storage, read> z: array<z_word>;
@group(0) @binding(5) var<storage, read> packed: array<f32>;
@group(0) @binding(6) var<storage, read> initial: array<f32>; // (rows, STATES)
@group(0) @binding(7) var<storage, read_write> y: array<y_word>;
@group(0) @binding(8) var<storage, read_write> last: array<f32>; // (rows, STATES)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.rows * params.length) {
        finish_step(i / params.length, i % params.length);
    }
}

fn finish_step(row: u32, t: u32) {
    let place = place_x(row, t);
    var result = skip_factor(row) * x_load(place);
    for (var n = 0u; n < STATES; n++) {
        let pair = pairs[(row * STATES + n) * params.length + t];
        var state = pair.y;
        if (HAS_INITIAL) {
            state = fma(pair.x, initial[row * STATES + n], state);
        }
        result = fma(c_load(place_b(row, n, t)), state, result);
        if (t == params.length - 1u) {
            last[row * STATES + n] = state;
        }
    }
    if (GATED) {
        let gate = z_load(place);
        result *= gate * sigmoid(vec4<f32>(gate)).x;
    }
    y_store(place, result);
}
