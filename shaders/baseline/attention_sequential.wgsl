// Linear attention or the delta rule as a loop: one lane takes one row of a head's state, which belongs to an element of its
// values, a step at a time. A dispatch takes some of the steps; states stay in `last` between them.

struct Params {
    groups: u32, // rows, by LANES
    rows: u32,   // batch x heads x value_dim
    heads: u32,
    value_dim: u32,
    length: u32, // steps of a batch
    first: u32,  // the steps of this dispatch, from this one
    end: u32,    // to before this one
    scale: f32,  // of the result
    g_step: u32, // distances in g
    g_head: u32,
}

const LANES: u32 = 64;
const KEY_DIM: u32 = 64;
const HAS_DECAY: bool = true; // without, `g` is not read
const KEYED: bool = false; // elements of keys decay each on its own
const DELTA: bool = false; // values replace what is under a key, by a share; without, `beta` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (batch, length, heads, KEY_DIM)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (batch, length, heads, KEY_DIM)
@group(0) @binding(3) var<storage, read> v: array<v_word>; // (batch, length, heads, value_dim)
@group(0) @binding(4) var<storage, read> g: array<f32>; // logarithms of decays
@group(0) @binding(5) var<storage, read> beta: array<f32>; // (batch, length, heads)
@group(0) @binding(6) var<storage, read_write> o: array<o_word>; // (batch, length, heads, value_dim)
@group(0) @binding(7) var<storage, read_write> last: array<f32>; // (rows, KEY_DIM), before this dispatch and after

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
    let head = row / params.value_dim % params.heads;
    let batch = row / params.value_dim / params.heads;
    var state: array<f32, KEY_DIM>;
    for (var n = 0u; n < KEY_DIM; n++) {
        state[n] = last[row * KEY_DIM + n];
    }
    for (var t = params.first; t < params.end; t++) {
        let token = batch * params.length + t;
        let at = token * params.heads + head;
        let decays = token * params.g_step + head * params.g_head;
        var decay = 1.0;
        if (HAS_DECAY && !KEYED) {
            decay = exp(g[decays]);
        }
        var held = 0.0;
        for (var n = 0u; n < KEY_DIM; n++) {
            if (KEYED) {
                decay = exp(g[decays + n]);
            }
            state[n] *= decay;
            if (DELTA) {
                held = fma(state[n], k_load(at * KEY_DIM + n), held);
            }
        }
        let place = at * params.value_dim + row % params.value_dim;
        var taken = v_load(place);
        if (DELTA) {
            taken = beta[at] * (taken - held);
        }
        var result = 0.0;
        for (var n = 0u; n < KEY_DIM; n++) {
            state[n] = fma(taken, k_load(at * KEY_DIM + n), state[n]);
            result = fma(state[n], q_load(at * KEY_DIM + n), result);
        }
        o_store(place, params.scale * result);
    }
    for (var n = 0u; n < KEY_DIM; n++) {
        last[row * KEY_DIM + n] = state[n];
    }
}
