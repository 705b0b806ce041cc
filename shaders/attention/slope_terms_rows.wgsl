// Each query's part of the gradient of its slope, from what the lanes of its row found.
fn store_slope_terms(lane: Lane, place: Place, task: Task, row: u32, slopes: vec4<f32>) {
    let terms = reduce_add(lane, slopes);
    if (place.column == 0u) {
        for (var n = 0u; n < 4u; n++) {
            store_slope_term(task, task.row + place.row + row * 4u + n, terms[n]);
        }
    }
}
