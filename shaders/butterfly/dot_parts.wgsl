// parts[first + group] = sign x the sum of left[i % left_length] right[i] over the elements of a group, in an order that
// is always the same.

struct Params {
    groups: u32,
    first: u32,
    left_length: u32,
    length: u32, // of right
    group_length: u32, // elements of a group
    sign: f32,
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<left_word>; // (left_length)
@group(0) @binding(2) var<storage, read> right: array<right_word>; // (length)
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    var sum = 0.0;
    if (group < params.groups) {
        let end = min((group + 1u) * params.group_length, params.length);
        for (var i = group * params.group_length + lane; i < end; i += LANES) {
            sum += left_load(i % params.left_length) * right_load(i);
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    if (lane == 0u && group < params.groups) {
        for (var other = 1u; other < LANES; other++) {
            sum += sums[other];
        }
        parts[params.first + group] = params.sign * sum;
    }
}
