// No gradient of slopes.
fn store_slope_term(task: Task, row: u32, term: vec4<f32>) {}
