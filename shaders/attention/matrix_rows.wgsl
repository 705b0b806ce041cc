// Leaves SIDE columns of the lane's row of `tensor` in `left`: matrices know no bounds.
fn stage_tensor_rows(task: Task, place: Place, first: u32) {
    for (var four = place.part; four < SIDE_FOURS; four += ROW_LANES) {
        left[place.row * LEFT_STRIDE + four] = tensor_halves(task, task.row + place.row, (first + four) * 4u);
    }
}
