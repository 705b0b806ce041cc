// A diagonal recurrence as a loop: one lane takes one channel with all its states, a step at a time. A dispatch takes some
// of the steps, since drivers end kernels that run for seconds, and a software one gives up loops of more than 65,535
// turns; states stay in `last` between them.

const LANES: u32 = 64;
const GATED: bool = true; // without, `z` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>;
@group(0) @binding(2) var<storage, read> dt: array<dt_word>;
@group(0) @binding(3) var<storage, read> b: array<b_word>;
@group(0) @binding(4) var<storage, read> c: array<c_word>;
@group(0) @binding(5) var<storage, read> z: array<z_word>;
@group(0) @binding(6) var<storage, read> packed: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<y_word>;
@group(0) @binding(8) var<storage, read_write> last: array<f32>; // (rows, STATES), the states before this dispatch and after

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
    var h: array<f32, STATES>;
    var rates: array<f32, STATES>;
    for (var n = 0u; n < STATES; n++) {
        h[n] = last[row * STATES + n];
        rates[n] = decay_rate(row, n);
    }
    for (var t = params.first; t < params.end; t++) {
        let place = place_x(row, t);
        let input = x_load(place);
        let size = step_size(row, t);
        var decay = exp(size * rates[0]);
        var result = packed[place_skip(row)] * input;
        for (var n = 0u; n < STATES; n++) {
            if (!ONE_DECAY) {
                decay = exp(size * rates[n]);
            }
            let i = place_b(row, n, t);
            h[n] = fma(decay, h[n], size * input * b_load(i));
            result = fma(c_load(i), h[n], result);
        }
        if (GATED) {
            let gate = z_load(place);
            result *= gate * sigmoid(vec4<f32>(gate)).x;
        }
        y_store(place, result);
    }
    for (var n = 0u; n < STATES; n++) {
        last[row * STATES + n] = h[n];
    }
}
