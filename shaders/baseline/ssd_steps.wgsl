// The step sizes of each chunk, and the sums of the logarithms of its decays up to each step.

const LANES: u32 = 64;
const SOFTPLUS: bool = true;
const HAS_BIAS: bool = true; // without, `bias` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dt: array<dt_word>; // (steps, heads)
@group(0) @binding(2) var<storage, read> a: array<f32>; // (heads)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (heads)
@group(0) @binding(4) var<storage, read_write> sizes: array<f32>; // (chunks, heads, chunk)
@group(0) @binding(5) var<storage, read_write> logs: array<f32>; // (chunks, heads, chunk)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        sum_chunk(i / params.heads, i % params.heads);
    }
}

fn sum_chunk(chunk: u32, head: u32) {
    var log = 0.0;
    for (var t = 0u; t < params.chunk; t++) {
        var size = dt_load((chunk * params.chunk + t) * params.heads + head);
        if (HAS_BIAS) {
            size += bias[head];
        }
        if (SOFTPLUS) {
            size = softplus(vec4<f32>(size)).x;
        }
        log = fma(size, a[head], log);
        let place = (chunk * params.heads + head) * params.chunk + t;
        sizes[place] = size;
        logs[place] = log;
    }
}
