// Sums slices, always in the same order: a lane every SPREAD-th slice of four numbers, then one lane the sums of SPREAD.
// There are several sums, of `count` numbers each, which `scale` multiplies (common/scale_*): what workgroups left side by
// side, or the rows of a batch.

struct Params {
    groups: u32,
    sums: u32,
    slices: u32,     // of a sum
    all: u32,        // of all sums, of which the last may have fewer
    count: u32,
    from_slice: u32, // distance between slices, in numbers
    from_sum: u32,   // between what belongs to different sums
    to_sum: u32,     // between sums in the result
    to_first: u32,   // where the first one begins
}

const LANES: u32 = 64;
const SPREAD: u32 = 8; // lanes that share a four
const FOURS: u32 = LANES / SPREAD;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> slices: array<slices_word>;
@group(0) @binding(2) var<storage, read_write> sums: array<sums_word>;

var<workgroup> shares: array<vec4<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    let fours = (params.count + 3u) / 4u;
    let four = group * FOURS + lane % FOURS;
    let inside = four < params.sums * fours;
    let sum = four / fours;
    let i = four % fours * 4u;
    if (inside) {
        shares[lane] = share(sum, i, lane / FOURS);
    }
    workgroupBarrier();
    if (inside && lane < FOURS) {
        var all = shares[lane];
        for (var other = 1u; other < SPREAD; other++) {
            all += shares[other * FOURS + lane];
        }
        let to = params.to_first + sum * params.to_sum;
        sums_store4(to + i, to + params.count, scale() * all);
    }
}

fn share(sum: u32, i: u32, first: u32) -> vec4<f32> {
    var share = vec4<f32>();
    let end = min(params.slices, params.all - sum * params.slices);
    for (var slice = first; slice < end; slice += SPREAD) {
        let at = sum * params.from_sum + slice * params.from_slice;
        share += slices_load4(at + i, at + params.count);
    }
    return share;
}
