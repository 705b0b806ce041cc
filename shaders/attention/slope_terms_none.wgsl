// No gradient of slopes.
fn store_slope_terms(lane: Lane, place: Place, task: Task, row: u32, slopes: mat4x4<f32>) {}
