// Nothing is held: rows are staged with the columns.
fn hold_tensor(lane: Lane, task: Task) {}

// The dot products of a tile's rows of `tensor` with its columns, rows of `other`, all of WIDTH elements, of which slices
// are staged at a time.
fn tensor_by_other(lane: Lane, place: Place, task: Task, column: u32) -> Scores {
    var dots: Scores;
    for (var first = 0u; first < WIDTH; first += SLICE) {
        stage_tensor_as_rows(lane, task, first);
        stage_other_as_columns(lane, task, column, first);
        workgroupBarrier();
        add_dots(place, &dots);
        workgroupBarrier();
    }
    return dots;
}

fn stage_tensor_as_rows(lane: Lane, task: Task, first: u32) {
    for (var i = rank(lane); i < ROWS * (SLICE / 4u); i += LANES) {
        let row = i / (SLICE / 4u);
        let four = i % (SLICE / 4u);
        left[row * LEFT_STRIDE + four] = tensor_four(task, task.row + row, first + four * 4u);
    }
}

// A lane takes four elements of four rows at a time, and turns them round.
fn stage_other_as_columns(lane: Lane, task: Task, column: u32, first: u32) {
    for (var i = rank(lane); i < COLUMNS / 4u * (SLICE / 4u); i += LANES) {
        let four = i % (SLICE / 4u);
        let row = column + i / (SLICE / 4u) * 4u;
        let turned = transpose(mat4x4<f32>(
            other_four(task, row, first + four * 4u),
            other_four(task, row + 1u, first + four * 4u),
            other_four(task, row + 2u, first + four * 4u),
            other_four(task, row + 3u, first + four * 4u),
        ));
        let at = four * 4u * RIGHT_STRIDE + i / (SLICE / 4u);
        right[at] = turned[0];
        right[at + RIGHT_STRIDE] = turned[1];
        right[at + 2u * RIGHT_STRIDE] = turned[2];
        right[at + 3u * RIGHT_STRIDE] = turned[3];
    }
}
