// Reduces over groups of REDUCE_LANES lanes of neighbouring ranks with shuffles. The kernel declares LANES and
// REDUCE_LANES, a power of two; the plan sees to it that subgroups have at least REDUCE_LANES lanes and that none is
// part-filled, so that a group never straddles two.

fn reduce_max(lane: Lane, values: vec4<f32>) -> vec4<f32> {
    var all = values;
    for (var step = 1u; step < REDUCE_LANES; step *= 2u) {
        all = max(all, subgroupShuffleXor(all, step));
    }
    return all;
}

fn reduce_add(lane: Lane, values: vec4<f32>) -> vec4<f32> {
    var all = values;
    for (var step = 1u; step < REDUCE_LANES; step *= 2u) {
        all += subgroupShuffleXor(all, step);
    }
    return all;
}
