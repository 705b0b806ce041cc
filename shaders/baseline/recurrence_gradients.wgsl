// Third of the kernels of a recurrence's gradients as a loop: from the last of some steps to the first, one lane a channel.
// What channels share is left to be summed.

const LANES: u32 = 64;
const RATES: bool = true; // decays have rates; without, what steps add to the gradients of their decays is kept

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>;
@group(0) @binding(2) var<storage, read> dt: array<dt_word>;
@group(0) @binding(3) var<storage, read> b: array<b_word>;
@group(0) @binding(4) var<storage, read> c: array<c_word>;
@group(0) @binding(5) var<storage, read> packed: array<f32>;
@group(0) @binding(6) var<storage, read_write> work: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<dx_word>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts) * LANES + lane;
    if (row < params.rows) {
        go_back(row);
    }
}

fn go_back(row: u32) {
    var behind: array<f32, STATES>;
    var rates: array<f32, STATES>; // their gradients
    for (var n = 0u; n < STATES; n++) {
        behind[n] = work[from_behind(row, n)];
        rates[n] = work[rate_gradient(row, n)];
    }
    var of_skip = work[skip_gradient(row)];
    var of_bias = work[bias_gradient(row)];
    for (var t = params.end; t > params.first; t--) {
        let step = t - 1u;
        let place = place_x(row, step);
        let input = x_load(place);
        let size = step_size(row, step);
        let gradient = work[ungated_gradient(row, step)];
        var of_input = packed[place_skip(row)] * gradient;
        var of_size = 0.0;
        for (var n = 0u; n < STATES; n++) {
            let i = place_b(row, n, step);
            let coefficient = b_load(i);
            let of_state = fma(params.scale * c_load(i), gradient, behind[n]);
            var earlier = 0u;
            if (step == params.first) {
                earlier = before(row, n);
            } else {
                earlier = state(row, n, step - 1u);
            }
            let kept = decay(row, n, step, size);
            let of_log = of_state * kept * work[earlier];
            work[part_b(row, n, step)] = of_state * weight(size) * input;
            work[part_c(row, n, step)] = params.scale * gradient * work[state(row, n, step)];
            of_input = fma(weight(size) * of_state, coefficient, of_input);
            of_size += size_part(row, n, of_state * coefficient * input, of_log);
            if (RATES) {
                rates[n] += rate_part(size, of_log);
            } else {
                work[part_rate(row, n, step)] = of_log;
            }
            behind[n] = of_state * kept;
        }
        let of_raw = of_size * size_slope(row, step);
        work[size_gradient(row, step)] = of_raw;
        of_bias += of_raw;
        of_skip = fma(gradient, input, of_skip);
        dx_store(place, of_input);
    }
    for (var n = 0u; n < STATES; n++) {
        work[from_behind(row, n)] = behind[n];
        work[rate_gradient(row, n)] = rates[n];
    }
    work[skip_gradient(row)] = of_skip;
    work[bias_gradient(row)] = of_bias;
}
