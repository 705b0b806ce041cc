// Stores SIDE columns of the lane's row of `target`, which are in `sums`, times a factor.
fn store_target_columns(task: Task, place: Place, first: u32, factor: f32) {
    for (var four = place.part; four < SIDE_FOURS; four += ROW_LANES) {
        store_target_row(task, task.row + place.row, first + four, sums[place.row * SUM_STRIDE + four] * factor);
    }
}
