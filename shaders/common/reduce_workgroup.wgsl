// Reduces over groups of REDUCE_LANES lanes of neighbouring ranks through workgroup memory. Groups are small, and
// all of a group read the same address at a time: each lane runs over its whole group. The kernel declares LANES and
// REDUCE_LANES, a divisor of it.

var<workgroup> lane_values: array<vec4<f32>, LANES>;

fn reduce_max(lane: Lane, values: vec4<f32>) -> vec4<f32> {
    lane_values[lane.index] = values;
    workgroupBarrier();
    let group = lane.index - lane.index % REDUCE_LANES;
    var all = lane_values[group];
    for (var i = 1u; i < REDUCE_LANES; i++) {
        all = max(all, lane_values[group + i]);
    }
    // The next call overwrites the values.
    workgroupBarrier();
    return all;
}

fn reduce_add(lane: Lane, values: vec4<f32>) -> vec4<f32> {
    lane_values[lane.index] = values;
    workgroupBarrier();
    let group = lane.index - lane.index % REDUCE_LANES;
    var all = lane_values[group];
    for (var i = 1u; i < REDUCE_LANES; i++) {
        all += lane_values[group + i];
    }
    // The next call overwrites the values.
    workgroupBarrier();
    return all;
}
