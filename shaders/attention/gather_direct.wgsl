// What lanes tell one another of their softmaxes, where each group of lanes has one of its own.

// The largest of each row that the lane is to measure against: that of its own group.
fn share_max(lane: Lane, values: vec4<f32>) -> vec4<f32> {
    return values;
}

// Puts the softmaxes of a workgroup's groups of lanes together, in the lanes of the first.
fn gather(lane: Lane, place: Place, softmax: ptr<function, Softmax>, output: ptr<function, V_Sums>) {
    // Other groups may still be at their columns, and read rows from the memory that is exchanged through.
    workgroupBarrier();
    for (var row = 0u; row < ROW_FOURS; row++) {
        let largest = gather_max(lane, place, (*softmax).largest[row]);
        let base = select(vec4<f32>(), largest, is_seen(largest));
        let fade = exp2((*softmax).largest[row] - base);
        (*softmax).largest[row] = largest;
        var totals = mat4x4<f32>();
        totals[0] = (*softmax).total[row] * fade;
        (*softmax).total[row] = gather_sum(lane, place, totals)[0];
        for (var part = 0u; part < V_LANE_FOURS; part++) {
            let sum = row * V_LANE_FOURS + part;
            (*output)[sum] = gather_sum(lane, place, scale_rows((*output)[sum], fade));
        }
    }
}
