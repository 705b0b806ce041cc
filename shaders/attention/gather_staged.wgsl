// What lanes tell one another of their softmaxes, where the lanes across a tile share its rows.

// The largest of each row that the lane is to measure against: that of the whole tile.
fn share_max(lane: Lane, values: vec4<f32>) -> vec4<f32> {
    return reduce_max(lane, values);
}

// Sums the shares of a row that its lanes hold. Their output is whole already.
fn gather(lane: Lane, place: Place, softmax: ptr<function, Softmax>, output: ptr<function, V_Sums>) {
    for (var row = 0u; row < ROW_FOURS; row++) {
        (*softmax).total[row] = reduce_add(lane, (*softmax).total[row]);
    }
}
