// How much each step of a chunk takes from each step before it: the products of c and b, masked, decayed and sized.

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> products: array<f32>; // (chunks, groups, chunk, chunk)
@group(0) @binding(2) var<storage, read> sizes: array<f32>; // (chunks, heads, chunk)
@group(0) @binding(3) var<storage, read> logs: array<f32>; // (chunks, heads, chunk)
@group(0) @binding(4) var<storage, read_write> masked: array<f32>; // (chunks, heads, chunk, chunk)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        let s = i % params.chunk;
        let t = i / params.chunk % params.chunk;
        let head = i / params.chunk / params.chunk; // of all chunks
        var taken = 0.0;
        if (s <= t) {
            let decay = exp(logs[head * params.chunk + t] - logs[head * params.chunk + s]);
            let place = (head / params.share * params.chunk + t) * params.chunk + s;
            taken = products[place] * decay * sizes[head * params.chunk + s];
        }
        masked[i] = taken;
    }
}
