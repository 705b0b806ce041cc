// c for each head, decayed since the chunk's beginning.

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> c: array<c_word>; // (steps, groups, states)
@group(0) @binding(2) var<storage, read> logs: array<f32>; // (chunks, heads, chunk)
@group(0) @binding(3) var<storage, read_write> expanded: array<f32>; // (chunks, heads, chunk, states)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        let n = i % params.states;
        let t = i / params.states % params.chunk;
        let head = i / params.states / params.chunk; // of all chunks
        let step = head / params.heads * params.chunk + t;
        let group = step * (params.heads / params.share) + head % params.heads / params.share;
        expanded[i] = c_load(group * params.states + n) * exp(logs[head * params.chunk + t]);
    }
}
