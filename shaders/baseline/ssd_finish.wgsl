// The results: what comes from within a chunk, what from before it, and what skips it; gated.

const LANES: u32 = 256;
const GATED: bool = true; // without, `z` is not read
const HAS_SKIP: bool = true; // without, `skip` is not read
const SKIP_PER_CHANNEL: bool = true; // and not for each head

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> within: array<f32>; // (steps, heads, head_dim)
@group(0) @binding(2) var<storage, read> before: array<f32>; // (steps, heads, head_dim)
@group(0) @binding(3) var<storage, read> x: array<x_word>; // (steps, heads, head_dim)
@group(0) @binding(4) var<storage, read> z: array<z_word>; // (steps, heads, head_dim)
@group(0) @binding(5) var<storage, read> skip: array<f32>; // (heads) or (heads, head_dim)
@group(0) @binding(6) var<storage, read_write> y: array<y_word>; // (steps, heads, head_dim)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        var result = within[i] + before[i];
        if (HAS_SKIP) {
            let channel = i % (params.heads * params.head_dim);
            result = fma(skip[select(channel / params.head_dim, channel, SKIP_PER_CHANNEL)], x_load(i), result);
        }
        if (GATED) {
            let gate = z_load(i);
            result *= gate * sigmoid(vec4<f32>(gate)).x;
        }
        y_store(i, result);
    }
}
