// Passes states from chunk to chunk: where each chunk's own sum was, the state with which it begins is left. In reverse,
// gradients pass from the last chunk to the first, and what is left is the gradient of the state with which it ends. A
// lane takes one cell of one head's state through all chunks of a run.

struct Params {
    groups: u32, // runs x heads x cells, by LANES
    count: u32,  // runs x heads x cells
    heads: u32,
    cells: u32,  // of one head's state
    columns: u32,
    has_initial: u32, // 0: every run begins with 0, and `initial` is not read
}

const LANES: u32 = 64;
const REVERSE: bool = false;
const KEYED: bool = false; // columns decay each on its own
const NONE = 0xffffffffu;

@group(0) @binding(0) var<uniform> params: Params;
// The first chunk of each run, the one after its last, and which of the initial and last states are its own; in reverse
// the states it takes are those of its end.
@group(0) @binding(1) var<storage, read> runs: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> totals: array<f32>; // (chunks, heads) or (chunks, heads, columns), logarithms of decays
@group(0) @binding(3) var<storage, read> initial: array<f32>; // (states, heads, cells)
@group(0) @binding(4) var<storage, read_write> states: array<f32>; // (chunks, heads, cells)
@group(0) @binding(5) var<storage, read_write> last: array<f32>; // (states, heads, cells)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    if (item < params.count) {
        pass_cell(item / params.cells / params.heads, item / params.cells % params.heads, item % params.cells);
    }
}

fn pass_cell(index: u32, head: u32, cell: u32) {
    let run = runs[index];
    let taken = select(run.z, run.w, REVERSE);
    let left = select(run.w, run.z, REVERSE);
    var state = 0.0;
    if (params.has_initial != 0u && taken != NONE) {
        state = initial[(taken * params.heads + head) * params.cells + cell];
    }
    for (var i = run.x; i < run.y; i++) {
        let chunk = select(i, run.x + run.y - 1u - i, REVERSE) * params.heads + head;
        let own = states[chunk * params.cells + cell];
        states[chunk * params.cells + cell] = state;
        let total = totals[select(chunk, chunk * params.columns + cell % params.columns, KEYED)];
        state = fma(exp(total), state, own);
    }
    if (left != NONE) {
        last[(left * params.heads + head) * params.cells + cell] = state;
    }
}
