// First of the kernels of the delta rule's gradients as a loop: the states after each of some steps, from those before them.
// One lane takes one row of a state, which belongs to an element of a value; `recurrence_work` divides what lies between.

const LANES: u32 = 64;
const GATED: bool = true; // without, `g` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<v_word>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<k_word>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;
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
        let decay = decay_of(row, t);
        var held = 0.0;
        for (var n = 0u; n < STATES; n++) {
            h[n] *= decay;
            held = fma(h[n], k_load(place_b(row, n, t)), held);
        }
        let taken = beta[place_head(row, t)] * (v_load(place_x(row, t)) - held);
        for (var n = 0u; n < STATES; n++) {
            h[n] = fma(taken, k_load(place_b(row, n, t)), h[n]);
            work[state(row, n, t)] = h[n];
        }
    }
    for (var n = 0u; n < STATES; n++) {
        work[after(row, n)] = h[n];
    }
}
