// Sums what workgroups left apart, always in the same order: `sums` (outer, inner) of `terms` (outer, count, inner),
// which begin at `first`. A workgroup takes QUADS times four neighbouring sums.

struct Params {
    groups: u32, // sums, by 4 QUADS
    first: u32,
    total: u32,  // outer x inner
    count: u32,  // terms of a sum
    inner: u32,
    to: u32,     // where in `sums` they go; a multiple of four where they are stored by fours
}

const LANES: u32 = 64;
const QUADS: u32 = 8;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> terms: array<f32>;

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
    let start = (group * QUADS + lane % QUADS) * 4u;
    var share: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        let i = start + n;
        if (i < params.total) {
            let first = params.first + i / params.inner * params.count * params.inner + i % params.inner;
            share[n] = share_of(lane, first, params.count, params.inner);
        }
    }
    let sum = sum_shares(lane, share);
    if (lane < QUADS) {
        finish_sums(params.to + start, params.to + params.total, sum);
    }
}
