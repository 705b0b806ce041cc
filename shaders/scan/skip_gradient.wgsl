// Each chunk's part of the gradient of the factor with which x skips the recurrence: Σ x dy over its steps, for every
// channel of every head. A lane takes one channel.

struct Params {
    groups: u32, // chunks x heads x channels, by LANES
    chunks: u32, // of all sequences
    first: u32,  // of them that are here, the first
    heads: u32,
    x_dim: u32,
    tiles: u32,  // of channels
}

const LANES: u32 = 64;
const CHUNK: u32 = 64; // room for a chunk's steps

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (tokens, heads, x_dim)
@group(0) @binding(2) var<storage, read> dy: array<dy_word>; // (tokens, heads, x_dim)
@group(0) @binding(3) var<storage, read_write> parts: array<f32>; // (heads, x_dim, chunks)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    let channel = group % params.tiles * LANES + lane;
    if (group < params.groups && channel < params.x_dim) {
        sum_channel(group / params.tiles, channel);
    }
}

fn sum_channel(record: u32, channel: u32) {
    let head = record % params.heads;
    let span = span_of(record);
    var sum = 0.0;
    for (var step = 0u; step < span.steps; step++) {
        let at = ((span.first + step) * params.heads + head) * params.x_dim + channel;
        sum = fma(x_load(at), dy_load(at), sum);
    }
    parts[(head * params.x_dim + channel) * params.chunks + params.first + record / params.heads] = sum;
}
