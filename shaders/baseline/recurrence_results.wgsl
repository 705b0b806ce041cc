// Last of the array operations of an unfused recurrence: the results that the scanned pairs give.

const LANES: u32 = 256;
const GATED: bool = true; // without, `z` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<f32>>; // (rows, STATES, steps)
@group(0) @binding(2) var<storage, read> x: array<x_word>;
@group(0) @binding(3) var<storage, read> c: array<c_word>;
@group(0) @binding(4) var<storage, read> z: array<z_word>;
@group(0) @binding(5) var<storage, read> packed: array<f32>;
@group(0) @binding(6) var<storage, read> begun: array<f32>; // (rows, STATES), before these steps
@group(0) @binding(7) var<storage, read_write> y: array<y_word>;
@group(0) @binding(8) var<storage, read_write> last: array<f32>; // (rows, STATES)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    let steps = params.end - params.first;
    if (i < params.rows * steps) {
        finish_step(i / steps, i % steps, steps);
    }
}

fn finish_step(row: u32, step: u32, steps: u32) {
    let t = params.first + step;
    let place = place_x(row, t);
    var result = packed[place_skip(row)] * x_load(place);
    for (var n = 0u; n < STATES; n++) {
        let pair = pairs[(row * STATES + n) * steps + step];
        let state = fma(pair.x, begun[row * STATES + n], pair.y);
        result = fma(params.scale * c_load(place_b(row, n, t)), state, result);
        if (step == steps - 1u) {
            last[row * STATES + n] = state;
        }
    }
    if (GATED) {
        let gate = z_load(place);
        result *= gate * sigmoid(vec4<f32>(gate)).x;
    }
    y_store(place, result);
}
