// Rows are stored as they are.

fn finished(stack: u32, element: u32, points: array<Point, 4>) -> array<Point, 4> {
    return points;
}
