// What becomes of the results of scan/chunk_mix where they are summed over the heads of a unit. Each head's part of each
// row, before it is multiplied with the row's weight, is also multiplied with the row of another tensor: the gradients
// of weights and decays are made of these products.

@group(0) @binding(0) var<storage, read> other: array<other_word>; // (tokens, heads / v_share, v_dim), like v
@group(0) @binding(1) var<storage, read_write> out: array<out_word>; // (tokens, units, v_dim)
// (planes, tokens, heads): the product with the whole part, and with what comes from the state.
@group(0) @binding(2) var<storage, read_write> dots: array<vec2<f32>>;

fn finish_four(at: u32, end: u32, unit: u32, column: u32, four: vec4<f32>) {
    out_store4(at, end, four);
}

// The lane's columns of its four rows.
fn row_dots(task: Task, place: Place, head: u32, tile: ptr<function, Tile>) -> vec4<f32> {
    var sums = vec4<f32>();
    for (var j = 0u; j < FOURS; j++) {
        let column = task.column + 4u * (place.column + j * COLUMN_LANES);
        sums += vec4<f32>(
            dot((*tile)[j][0], load_other(task, place.row, head, column)),
            dot((*tile)[j][1], load_other(task, place.row + 1u, head, column)),
            dot((*tile)[j][2], load_other(task, place.row + 2u, head, column)),
            dot((*tile)[j][3], load_other(task, place.row + 3u, head, column)),
        );
    }
    return sums;
}

fn load_other(task: Task, row: u32, head: u32, column: u32) -> vec4<f32> {
    let step = task.row + row;
    let line = line_of(task, step, head, params.v_share, params.v_dim);
    return other_load4(line + column, select(0u, line + params.v_dim, step < task.span.steps));
}

// The lanes of a row meet in `left`, which nothing else uses then.
fn store_dots(lane: u32, task: Task, place: Place, head: u32, whole: vec4<f32>, of_state: vec4<f32>) {
    let at = place.row * LEFT_STRIDE + place.column;
    left[at] = vec4<f32>(whole.x, of_state.x, 0.0, 0.0);
    left[at + LEFT_STRIDE] = vec4<f32>(whole.y, of_state.y, 0.0, 0.0);
    left[at + 2u * LEFT_STRIDE] = vec4<f32>(whole.z, of_state.z, 0.0, 0.0);
    left[at + 3u * LEFT_STRIDE] = vec4<f32>(whole.w, of_state.w, 0.0, 0.0);
    workgroupBarrier();
    let plane = params.plane + task.column / (4u * TILE_FOURS);
    for (var row = lane; row < ROWS; row += LANES) {
        var sum = vec2<f32>();
        for (var i = 0u; i < COLUMN_LANES; i++) {
            sum += left[row * LEFT_STRIDE + i].xy;
        }
        let step = task.row + row;
        if (step < task.span.steps) {
            let token = plane * params.tokens + task.span.first + step;
            dots[token * params.units * params.repeat + head] = sum;
        }
    }
    // The next head overwrites the rows.
    workgroupBarrier();
}
