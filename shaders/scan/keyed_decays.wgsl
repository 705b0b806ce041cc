// The gradients of decays that differ from key to key: for each step r of a chunk
//
//   Σ_{t ≥ r} (what queries read of the state before) + Σ_{s < r} (what keys add to the state after) + what passes through
//   the chunk + Σ_{s < r ≤ t} (what queries read of keys)
//
// The last is that of the step before, plus what the key of that step gives to later ones, less what its query takes from
// earlier ones. A lane takes one key of a head through the steps of a chunk.

struct Params {
    groups: u32, // chunks x heads x keys, by LANES
    count: u32,  // chunks x heads x keys
    heads: u32,
    x_dim: u32,  // rows of a state
    key_dim: u32,
    tokens: u32,
}

const LANES: u32 = 64;
const CHUNK: u32 = 64; // room for a chunk's steps

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> states: array<f32>; // (chunks, heads, x_dim, key_dim), before
@group(0) @binding(2) var<storage, read> dstates: array<f32>; // the gradients of those after
@group(0) @binding(3) var<storage, read> totals: array<f32>; // (chunks, heads, key_dim), logarithms of whole chunks' decays
// (2, tokens, heads, key_dim): what of a query's product with its gradient is the state's, then what is the steps'.
@group(0) @binding(4) var<storage, read> of_queries: array<f32>;
@group(0) @binding(5) var<storage, read> of_keys: array<f32>; // the same of keys
@group(0) @binding(6) var<storage, read_write> dg: array<f32>; // (tokens, heads, key_dim)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    if (item < params.count) {
        finish_key(item / params.key_dim, item % params.key_dim);
    }
}

fn finish_key(record: u32, key: u32) {
    let span = span_of(record);
    let stride = params.heads * params.key_dim;
    let first = span.first * stride + record % params.heads * params.key_dim + key;
    let second = params.tokens * stride;
    var through = 0.0;
    for (var row = 0u; row < params.x_dim; row++) {
        let at = (record * params.x_dim + row) * params.key_dim + key;
        through = fma(states[at], dstates[at], through);
    }
    through *= exp(totals[record * params.key_dim + key]);
    var added = 0.0;
    var within = 0.0;
    for (var step = 0u; step < span.steps; step++) {
        let at = first + step * stride;
        dg[at] = through + added + within;
        added += of_keys[at];
        within += of_keys[second + at] - of_queries[second + at];
    }
    // The step's own query is the last to be counted.
    var read = 0.0;
    for (var left = span.steps; left > 0u; left--) {
        let at = first + (left - 1u) * stride;
        read += of_queries[at];
        dg[at] += read;
    }
}
