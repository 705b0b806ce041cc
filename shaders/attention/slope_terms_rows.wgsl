// What makes the gradient of each query's slope, from what the lanes of its row found.
fn store_slope_terms(lane: Lane, place: Place, task: Task, row: u32, slopes: mat4x4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        let term = reduce_add(lane, slopes[n]);
        if (place.column == 0u) {
            store_slope_term(task, task.row + place.row + row * 4u + n, term);
        }
    }
}
