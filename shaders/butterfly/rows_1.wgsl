// Sets of one row of the batch: a number of each of them makes a value, and every weight that is loaded serves them all.

const ROWS: u32 = 1u;
alias Rows = f32;

// Four numbers of each row as four values.
fn turned(lines: array<vec4<f32>, ROWS>) -> array<Rows, 4> {
    let line = lines[0];
    return array<Rows, 4>(line.x, line.y, line.z, line.w);
}

// Four values as four numbers of each row.
fn turned_back(points: array<Rows, 4>) -> array<vec4<f32>, ROWS> {
    return array<vec4<f32>, ROWS>(vec4<f32>(points[0], points[1], points[2], points[3]));
}

fn sum_of_rows(values: Rows) -> f32 {
    return values;
}
