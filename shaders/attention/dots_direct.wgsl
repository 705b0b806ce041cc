// The dot products of a tile's rows of `tensor` with its columns, rows of `other`, all of WIDTH elements: rows stay in
// workgroup memory, columns come straight from theirs.

fn hold_tensor(lane: Lane, task: Task) {
    for (var i = rank(lane); i < ROWS * DOT_FOURS; i += LANES) {
        left[i] = tensor_four(task, task.row + i / DOT_FOURS, i % DOT_FOURS * 4u);
    }
    workgroupBarrier();
}

fn tensor_by_other(lane: Lane, place: Place, task: Task, column: u32) -> Scores {
    var dots: Scores;
    let first = column + place.column * 4u;
    for (var part = 0u; part < (DOT_FOURS + PART_LANES - 1u) / PART_LANES; part++) {
        let four = place.part + part * PART_LANES;
        if (four < DOT_FOURS) {
            let columns = mat4x4<f32>(
                other_four(task, first, four * 4u),
                other_four(task, first + 1u, four * 4u),
                other_four(task, first + 2u, four * 4u),
                other_four(task, first + 3u, four * 4u),
            );
            for (var row = 0u; row < ROW_FOURS; row++) {
                let at = row * 4u * DOT_FOURS + four;
                // A row times the matrix of columns: the row's dot product with each.
                dots[row][0] += left[at] * columns;
                dots[row][1] += left[at + DOT_FOURS] * columns;
                dots[row][2] += left[at + 2u * DOT_FOURS] * columns;
                dots[row][3] += left[at + 3u * DOT_FOURS] * columns;
            }
        }
    }
    for (var row = 0u; row < ROW_FOURS; row++) {
        let sums = dots[row];
        dots[row] = mat4x4<f32>(
            reduce_add(lane, sums[0]),
            reduce_add(lane, sums[1]),
            reduce_add(lane, sums[2]),
            reduce_add(lane, sums[3]),
        );
    }
    return dots;
}
