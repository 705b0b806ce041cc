// Second of the kernels of the delta rule's gradients as a loop: from the last of some steps to the first, one lane a row of a
// state. What rows share is left to be summed: the gradient of a share lies where that before a gate does elsewhere.

const LANES: u32 = 64;
const GATED: bool = true; // without, `g` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<v_word>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<k_word>;
@group(0) @binding(4) var<storage, read> q: array<q_word>;
@group(0) @binding(5) var<storage, read> beta: array<f32>;
@group(0) @binding(6) var<storage, read> dy: array<dy_word>;
@group(0) @binding(7) var<storage, read_write> work: array<f32>;
@group(0) @binding(8) var<storage, read_write> dv: array<dv_word>;

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
    for (var n = 0u; n < STATES; n++) {
        behind[n] = work[from_behind(row, n)];
    }
    for (var t = params.end; t > params.first; t--) {
        step_back(row, t - 1u, &behind);
    }
    for (var n = 0u; n < STATES; n++) {
        work[from_behind(row, n)] = behind[n];
    }
}

fn step_back(row: u32, t: u32, behind: ptr<function, array<f32, STATES>>) {
    let place = place_x(row, t);
    let gradient = params.scale * dy_load(place);
    let decay = decay_of(row, t);
    let share = beta[place_head(row, t)];
    var held = 0.0;
    var of_taken = 0.0;
    for (var n = 0u; n < STATES; n++) {
        let i = place_b(row, n, t);
        work[part_c(row, n, t)] = gradient * work[state(row, n, t)];
        (*behind)[n] = fma(q_load(i), gradient, (*behind)[n]);
        of_taken = fma((*behind)[n], k_load(i), of_taken);
        held = fma(decay * work[earlier(row, n, t)], k_load(i), held);
    }
    let lacks = v_load(place) - held;
    let of_held = -share * of_taken;
    var of_log = 0.0;
    for (var n = 0u; n < STATES; n++) {
        let kept = decay * work[earlier(row, n, t)];
        work[part_b(row, n, t)] = fma((*behind)[n], share * lacks, of_held * kept);
        let of_kept = fma(of_held, k_load(place_b(row, n, t)), (*behind)[n]);
        of_log = fma(of_kept, kept, of_log);
        (*behind)[n] = of_kept * decay;
    }
    work[size_gradient(row, t)] = of_log;
    work[ungated_gradient(row, t)] = of_taken * lacks;
    dv_store(place, share * of_taken);
}

// Where the state before a step is.
fn earlier(row: u32, n: u32, t: u32) -> u32 {
    if (t == params.first) {
        return before(row, n);
    }
    return state(row, n, t - 1u);
}
