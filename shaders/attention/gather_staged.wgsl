// Sums the shares of a row that its lanes hold. Their output is whole already.
fn gather(lane: Lane, place: Place, softmax: ptr<function, Softmax>, output: ptr<function, V_Sums>) {
    for (var row = 0u; row < ROW_FOURS; row++) {
        (*softmax).total[row] = reduce_add(lane, (*softmax).total[row]);
    }
}
