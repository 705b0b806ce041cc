// Of the array operations of an unfused recurrence's gradients: what each of some steps adds to those of all that it was made
// of, from the gradients of states that the scanned pairs give. A lane takes a step of a channel.

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>;
@group(0) @binding(2) var<storage, read> dt: array<dt_word>;
@group(0) @binding(3) var<storage, read> b: array<b_word>;
@group(0) @binding(4) var<storage, read> packed: array<f32>;
@group(0) @binding(5) var<storage, read> pairs: array<vec2<f32>>; // (rows, STATES, steps), the last step first
@group(0) @binding(6) var<storage, read_write> work: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<dx_word>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    let steps = params.end - params.first;
    if (i < params.rows * steps) {
        multiply_step(i / steps, params.first + i % steps, steps);
    }
}

fn multiply_step(row: u32, t: u32, steps: u32) {
    let place = place_x(row, t);
    let input = x_load(place);
    let size = step_size(row, t);
    let gradient = work[ungated_gradient(row, t)];
    var of_input = packed[place_skip(row)] * gradient;
    var of_size = 0.0;
    for (var n = 0u; n < STATES; n++) {
        let pair = pairs[(row * STATES + n) * steps + params.end - 1u - t];
        let of_state = fma(pair.x, work[from_behind(row, n)], pair.y);
        var earlier = 0u;
        if (t == params.first) {
            earlier = before(row, n);
        } else {
            earlier = state(row, n, t - 1u);
        }
        let kept = decay(row, n, t, size);
        let of_log = of_state * kept * work[earlier];
        let coefficient = b_load(place_b(row, n, t));
        work[part_b(row, n, t)] = of_state * weight(size) * input;
        work[part_c(row, n, t)] = params.scale * gradient * work[state(row, n, t)];
        work[part_rate(row, n, t)] = rate_part(size, of_log);
        of_input = fma(weight(size) * of_state, coefficient, of_input);
        of_size += size_part(row, n, of_state * coefficient * input, of_log);
        if (t == params.first) {
            // Where the states after the window were: what comes from behind is still read.
            work[after(row, n)] = of_state * kept;
        }
    }
    work[size_gradient(row, t)] = of_size * size_slope(row, t);
    dx_store(place, of_input);
}
