// Sets of two rows of the batch: a number of each of them makes a value, and every weight that is loaded serves them all.

const ROWS: u32 = 2u;
alias Rows = vec2<f32>;

// Four numbers of each row as four values.
fn turned(lines: array<vec4<f32>, ROWS>) -> array<Rows, 4> {
    let points = transpose(mat2x4<f32>(lines[0], lines[1]));
    return array<Rows, 4>(points[0], points[1], points[2], points[3]);
}

// Four values as four numbers of each row.
fn turned_back(points: array<Rows, 4>) -> array<vec4<f32>, ROWS> {
    let lines = transpose(mat4x2<f32>(points[0], points[1], points[2], points[3]));
    return array<vec4<f32>, ROWS>(lines[0], lines[1]);
}

fn sum_of_rows(values: Rows) -> f32 {
    return values.x + values.y;
}
