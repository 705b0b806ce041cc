// Passes states from chunk to chunk: in the place of what a chunk adds, the state before it.

const LANES: u32 = 64;
const HAS_INITIAL: bool = true; // without, rows begin with 0 and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logs: array<f32>; // (chunks, heads, chunk)
@group(0) @binding(2) var<storage, read> initial: array<f32>; // (batch, heads, head_dim, states)
@group(0) @binding(3) var<storage, read_write> added: array<f32>; // (chunks, heads, head_dim, states)
@group(0) @binding(4) var<storage, read_write> last: array<f32>; // (batch, heads, head_dim, states)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        pass_state(i);
    }
}

fn pass_state(i: u32) {
    let cells = params.head_dim * params.states;
    let batch = i / cells / params.heads;
    let head = i / cells % params.heads;
    var state = 0.0;
    if (HAS_INITIAL) {
        state = initial[i];
    }
    for (var chunk = batch * params.chunks; chunk < (batch + 1u) * params.chunks; chunk++) {
        let of_chunk = chunk * params.heads + head;
        let place = of_chunk * cells + i % cells;
        let before = state;
        state = fma(exp(logs[(of_chunk + 1u) * params.chunk - 1u]), state, added[place]);
        added[place] = before;
    }
    last[i] = state;
}
