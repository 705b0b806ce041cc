// Sums the slices of a twiddle's gradient, always in the same order: a lane every SPREAD-th slice of four numbers, then
// one lane the sums of SPREAD.

struct Params {
    groups: u32,
    stacks: u32,
    slices: u32,
    count: u32,  // fours of a stack in a slice
    first: u32,  // four of a stack in the result, to which the first in a slice belongs
    stride: u32, // fours of a stack in the result
}

const LANES: u32 = 64;
const SPREAD: u32 = 8; // lanes that share a four
const FOURS: u32 = LANES / SPREAD;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> slices: array<vec4<f32>>; // (slices, stacks, count)
@group(0) @binding(2) var<storage, read_write> sums: array<sums_word>; // (stacks, stride)

var<workgroup> shares: array<vec4<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    let total = params.stacks * params.count;
    let four = group * FOURS + lane % FOURS;
    if (four < total) {
        shares[lane] = share(four, lane / FOURS, total);
    }
    workgroupBarrier();
    if (four < total && lane < FOURS) {
        var sum = shares[lane];
        for (var other = 1u; other < SPREAD; other++) {
            sum += shares[other * FOURS + lane];
        }
        let at = four / params.count * params.stride + params.first + four % params.count;
        sums_store4(4u * at, 4u * at + 4u, sum);
    }
}

fn share(four: u32, first: u32, total: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var slice = first; slice < params.slices; slice += SPREAD) {
        sum += slices[slice * total + four];
    }
    return sum;
}
