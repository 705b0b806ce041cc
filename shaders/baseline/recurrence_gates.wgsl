// The gradients of a recurrence's gates, and of what is gated: part of its gradients as a loop, in which a lane takes a
// channel, and as array operations, in which it takes a step.

const LANES: u32 = 64;
const GATED: bool = true; // without, `z` is not read and `dz` not written
const ARRAYS: bool = false; // a lane takes a step, and keeps what the step adds to the gradient of d

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>;
@group(0) @binding(2) var<storage, read> c: array<c_word>;
@group(0) @binding(3) var<storage, read> z: array<z_word>;
@group(0) @binding(4) var<storage, read> dy: array<dy_word>;
@group(0) @binding(5) var<storage, read> packed: array<f32>;
@group(0) @binding(6) var<storage, read_write> work: array<f32>;
@group(0) @binding(7) var<storage, read_write> dz: array<dz_word>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (ARRAYS) {
        let steps = params.end - params.first;
        if (i < params.rows * steps) {
            let row = i / steps;
            let t = params.first + i % steps;
            let gradient = through_gate(row, t);
            work[ungated_gradient(row, t)] = gradient;
            work[skip_part(row, t)] = gradient * x_load(place_x(row, t));
        }
    } else if (i < params.rows) {
        for (var t = params.first; t < params.end; t++) {
            work[ungated_gradient(i, t)] = through_gate(i, t);
        }
    }
}

fn through_gate(row: u32, t: u32) -> f32 {
    let place = place_x(row, t);
    let gradient = dy_load(place);
    if (!GATED) {
        return gradient;
    }
    var result = packed[place_skip(row)] * x_load(place);
    for (var n = 0u; n < STATES; n++) {
        result = fma(params.scale * c_load(place_b(row, n, t)), work[state(row, n, t)], result);
    }
    let gate = vec4<f32>(z_load(place));
    dz_store(place, gradient * result * silu_slope(gate).x);
    return gradient * silu(gate).x;
}
