// Stores a lane's share of weighted sums as rows of `target`, times a factor of each row.
fn store_target(place: Place, task: Task, factors: array<vec4<f32>, ROW_FOURS>, sums: ptr<function, TENSOR_Sums>) {
    for (var row = 0u; row < ROW_FOURS; row++) {
        let first = task.row + place.row + row * 4u;
        for (var part = 0u; part < TENSOR_LANE_FOURS; part++) {
            let tile = scale_rows((*sums)[row * TENSOR_LANE_FOURS + part], factors[row]);
            let four = TENSOR_column(place, part);
            store_target_row(task, first, four, tile[0]);
            store_target_row(task, first + 1u, four, tile[1]);
            store_target_row(task, first + 2u, four, tile[2]);
            store_target_row(task, first + 3u, four, tile[3]);
        }
    }
}
