// The inputs of each chunk as its last state takes them, transposed.

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (steps, heads, head_dim)
@group(0) @binding(2) var<storage, read> sizes: array<f32>; // (chunks, heads, chunk)
@group(0) @binding(3) var<storage, read> logs: array<f32>; // (chunks, heads, chunk)
@group(0) @binding(4) var<storage, read_write> weighed: array<f32>; // (chunks, heads, head_dim, chunk)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        let s = i % params.chunk;
        let column = i / params.chunk % params.head_dim;
        let head = i / params.chunk / params.head_dim; // of all chunks
        let step = head / params.heads * params.chunk + s;
        let input = x_load((step * params.heads + head % params.heads) * params.head_dim + column);
        let decay = exp(logs[(head + 1u) * params.chunk - 1u] - logs[head * params.chunk + s]);
        weighed[i] = input * decay * sizes[head * params.chunk + s];
    }
}
