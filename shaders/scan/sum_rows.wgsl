// Sums of rows, in an order that does not depend on which lane is first. A workgroup takes one row.

struct Params {
    groups: u32, // rows
    first: u32,  // the first of them
    count: u32,  // elements of a row
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>; // (rows, count)
@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // (groups)

var<workgroup> lane_sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        sum_row(lane, group);
    }
}

fn sum_row(lane: u32, group: u32) {
    let start = (params.first + group) * params.count;
    var sum = 0.0;
    for (var i = lane; i < params.count; i += LANES) {
        sum += parts[start + i];
    }
    lane_sums[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            lane_sums[lane] += lane_sums[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        sums[group] = lane_sums[0];
    }
}
