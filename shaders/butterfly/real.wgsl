// Real elements: what a butterfly does with one, over the rows of a set. The kernel defines `source_load4` and
// `result_store4`, which say what tensors the elements are of, and declares the tensor `twiddle`.

const PARTS: u32 = 1u; // numbers of an element

alias Point = Rows;
// A 2 x 2 matrix, row by row.
alias Twiddle = vec4<f32>;

// Four elements of each row from `i`, where rows are `row` apart and `inside` of them are in the batch. Those from
// `end` on are zero.
fn load_points(source: u32, i: u32, end: u32, row: u32, inside: u32) -> array<Point, 4> {
    var lines: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        lines[r] = source_load4(source, i + r * row, select(0u, end + r * row, r < inside));
    }
    return turned(lines);
}

fn store_points(i: u32, end: u32, row: u32, inside: u32, points: array<Point, 4>) {
    var lines = turned_back(points);
    for (var r = 0u; r < ROWS; r++) {
        result_store4(i + r * row, select(0u, end + r * row, r < inside), lines[r]);
    }
}

// The i-th matrix; zero from the `end`-th on.
fn twiddle_at(i: u32, end: u32) -> Twiddle {
    return twiddle_load4(4u * i, 4u * end);
}

fn transposed(t: Twiddle) -> Twiddle {
    return t.xzyw;
}

// The matrix times the pair.
fn mixed(t: Twiddle, a: Point, b: Point) -> array<Point, 2> {
    return array<Point, 2>(
        fma(Rows(t.x), a, Rows(t.y) * b),
        fma(Rows(t.z), a, Rows(t.w) * b),
    );
}

// The matrix's adjoint times the pair.
fn mixed_back(t: Twiddle, a: Point, b: Point) -> array<Point, 2> {
    return mixed(transposed(t), a, b);
}

// Adds (a, b) (x, y)^H over the rows of the set.
fn add_outer(sum: Twiddle, a: Point, b: Point, x: Point, y: Point) -> Twiddle {
    return sum + vec4<f32>(sum_of_rows(a * x), sum_of_rows(a * y), sum_of_rows(b * x), sum_of_rows(b * y));
}

// The numbers of a matrix as they are stored, by fours.
fn as_stored(t: Twiddle) -> array<vec4<f32>, PARTS> {
    return array<vec4<f32>, PARTS>(t);
}
