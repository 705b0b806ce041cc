// First of the kernels of a recurrence's gradients as a loop: the states after each of some steps, from those before them.
// One lane takes one channel. They and all that kernels leave to each other lie in `work`, which `recurrence_work` divides.

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>;
@group(0) @binding(2) var<storage, read> dt: array<dt_word>;
@group(0) @binding(3) var<storage, read> b: array<b_word>;
@group(0) @binding(4) var<storage, read> packed: array<f32>;
@group(0) @binding(5) var<storage, read_write> work: array<f32>;

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
    for (var n = 0u; n < STATES; n++) {
        h[n] = work[before(row, n)];
    }
    for (var t = params.first; t < params.end; t++) {
        let size = step_size(row, t);
        let input = weight(size) * x_load(place_x(row, t));
        for (var n = 0u; n < STATES; n++) {
            h[n] = fma(decay(row, n, t, size), h[n], input * b_load(place_b(row, n, t)));
            work[state(row, n, t)] = h[n];
        }
    }
    for (var n = 0u; n < STATES; n++) {
        work[after(row, n)] = h[n];
    }
}
