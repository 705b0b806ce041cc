// Decays that differ from key to key, taken into queries and keys: queries decay from their chunk's beginning to after
// their step, keys from after theirs to the chunk's end. A lane takes one key of a head through the steps of a chunk.

struct Params {
    groups: u32, // chunks x heads x keys, by LANES
    count: u32,  // chunks x heads x keys
    heads: u32,
    key_dim: u32,
}

const LANES: u32 = 64;
const CHUNK: u32 = 64; // room for a chunk's steps

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (tokens, heads, key_dim)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (tokens, heads, key_dim)
@group(0) @binding(3) var<storage, read> g: array<f32>; // (tokens, heads, key_dim), logarithms of decays
@group(0) @binding(4) var<storage, read_write> factors: array<f32>; // (tokens, heads, key_dim), the decays
@group(0) @binding(5) var<storage, read_write> q_decayed: array<f32>; // (tokens, heads, key_dim)
@group(0) @binding(6) var<storage, read_write> k_decayed: array<f32>; // (tokens, heads, key_dim)
@group(0) @binding(7) var<storage, read_write> totals: array<f32>; // (chunks, heads, key_dim), logarithms of whole chunks' decays

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    if (item < params.count) {
        decay_key(item / params.key_dim, item % params.key_dim);
    }
}

fn decay_key(record: u32, key: u32) {
    let span = span_of(record);
    let stride = params.heads * params.key_dim;
    let first = span.first * stride + record % params.heads * params.key_dim + key;
    var total = 0.0;
    var decay = 1.0;
    for (var step = 0u; step < span.steps; step++) {
        let at = first + step * stride;
        let factor = exp(g[at]);
        total += g[at];
        decay *= factor;
        factors[at] = factor;
        q_decayed[at] = decay * q_load(at);
    }
    totals[record * params.key_dim + key] = total;
    decay = 1.0;
    for (var left = span.steps; left > 0u; left--) {
        let at = first + (left - 1u) * stride;
        k_decayed[at] = decay * k_load(at);
        decay *= factors[at];
    }
}
