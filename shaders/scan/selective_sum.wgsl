// The gradient of coefficients that vary from step to step, for a slice of a selective scan: sums over the tiles of
// channels that share them, always in the same order. A workgroup takes QUADS times four neighbouring sums of a line,
// which are the steps of one state.

struct Params {
    groups: u32,     // fours of all the slice's lines, by QUADS
    total: u32,      // the same
    first: u32,      // where the terms begin: (slice's groups of channels, tiles, states, steps)
    tiles: u32,
    states: u32,
    steps: u32,      // the slice's numbers in a line
    fours: u32,      // of them
    length: u32,     // numbers in a line of the sums
    first_line: u32, // the slice's first line
    column: u32,     // and where in it the slice begins
}

const LANES: u32 = 64;
const QUADS: u32 = 8;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> terms: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<sums_word>; // (batch, groups of channels, states, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        sum_group(lane, group);
    }
}

fn sum_group(lane: u32, group: u32) {
    let four = group * QUADS + lane % QUADS;
    let line = four / params.fours;
    let step = four % params.fours * 4u;
    let tile = params.states * params.steps;
    let first = params.first + (line / params.states * params.tiles * params.states + line % params.states) * params.steps;
    var share: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        if (four < params.total && step + n < params.steps) {
            share[n] = share_of(lane, first + step + n, params.tiles, tile);
        }
    }
    let sum = sum_shares(lane, share);
    if (lane < QUADS && four < params.total) {
        let start = (params.first_line + line) * params.length + params.column;
        sums_store4(start + step, start + params.steps, sum);
    }
}
