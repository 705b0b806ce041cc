// Complex elements, interleaved in memory: what a butterfly does with one, over the rows of a set. The kernel defines
// `source_load4` and `result_store4`, which say what tensors the elements are of, and declares the tensor `twiddle`.

const PARTS: u32 = 2u; // numbers of an element

struct Point {
    re: Rows,
    im: Rows,
}

// A 2 x 2 matrix, row by row.
struct Twiddle {
    re: vec4<f32>,
    im: vec4<f32>,
}

// Four elements of each row from `i`, where rows are `row` apart and `inside` of them are in the batch. Those from
// `end` on are zero.
fn load_points(source: u32, i: u32, end: u32, row: u32, inside: u32) -> array<Point, 4> {
    var re_lines: array<vec4<f32>, ROWS>;
    var im_lines: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let at = i + r * row;
        let row_end = select(0u, end + r * row, r < inside);
        let first = source_load4(source, at, row_end);
        let second = source_load4(source, at + 4u, row_end);
        re_lines[r] = vec4<f32>(first.xz, second.xz);
        im_lines[r] = vec4<f32>(first.yw, second.yw);
    }
    let re = turned(re_lines);
    let im = turned(im_lines);
    return array<Point, 4>(
        Point(re[0], im[0]),
        Point(re[1], im[1]),
        Point(re[2], im[2]),
        Point(re[3], im[3]),
    );
}

fn store_points(i: u32, end: u32, row: u32, inside: u32, points: array<Point, 4>) {
    var re_lines = turned_back(array<Rows, 4>(points[0].re, points[1].re, points[2].re, points[3].re));
    var im_lines = turned_back(array<Rows, 4>(points[0].im, points[1].im, points[2].im, points[3].im));
    for (var r = 0u; r < ROWS; r++) {
        let at = i + r * row;
        let row_end = select(0u, end + r * row, r < inside);
        let re = re_lines[r];
        let im = im_lines[r];
        result_store4(at, row_end, vec4<f32>(re.x, im.x, re.y, im.y));
        result_store4(at + 4u, row_end, vec4<f32>(re.z, im.z, re.w, im.w));
    }
}

// The i-th matrix; zero from the `end`-th on.
fn twiddle_at(i: u32, end: u32) -> Twiddle {
    let upper = twiddle_load4(8u * i, 8u * end);
    let lower = twiddle_load4(8u * i + 4u, 8u * end);
    return Twiddle(vec4<f32>(upper.xz, lower.xz), vec4<f32>(upper.yw, lower.yw));
}

fn transposed(t: Twiddle) -> Twiddle {
    return Twiddle(t.re.xzyw, t.im.xzyw);
}

// The matrix times the pair.
fn mixed(t: Twiddle, a: Point, b: Point) -> array<Point, 2> {
    return array<Point, 2>(
        sum_of_products(t.re.x, t.im.x, a, t.re.y, t.im.y, b),
        sum_of_products(t.re.z, t.im.z, a, t.re.w, t.im.w, b),
    );
}

fn sum_of_products(v_re: f32, v_im: f32, a: Point, w_re: f32, w_im: f32, b: Point) -> Point {
    let re = fma(Rows(v_re), a.re, fma(Rows(-v_im), a.im, fma(Rows(w_re), b.re, Rows(-w_im) * b.im)));
    let im = fma(Rows(v_re), a.im, fma(Rows(v_im), a.re, fma(Rows(w_re), b.im, Rows(w_im) * b.re)));
    return Point(re, im);
}

// The matrix's adjoint times the pair.
fn mixed_back(t: Twiddle, a: Point, b: Point) -> array<Point, 2> {
    return mixed(Twiddle(t.re.xzyw, -t.im.xzyw), a, b);
}

// Adds (a, b) (x, y)^H over the rows of the set.
fn add_outer(sum: Twiddle, a: Point, b: Point, x: Point, y: Point) -> Twiddle {
    return Twiddle(
        sum.re + vec4<f32>(outer_re(a, x), outer_re(a, y), outer_re(b, x), outer_re(b, y)),
        sum.im + vec4<f32>(outer_im(a, x), outer_im(a, y), outer_im(b, x), outer_im(b, y)),
    );
}

fn outer_re(a: Point, x: Point) -> f32 {
    return sum_of_rows(fma(a.re, x.re, a.im * x.im));
}

fn outer_im(a: Point, x: Point) -> f32 {
    return sum_of_rows(fma(a.im, x.re, -(a.re * x.im)));
}

// The numbers of a matrix as they are stored, by fours.
fn as_stored(t: Twiddle) -> array<vec4<f32>, PARTS> {
    return array<vec4<f32>, PARTS>(
        vec4<f32>(t.re.x, t.im.x, t.re.y, t.im.y),
        vec4<f32>(t.re.z, t.im.z, t.re.w, t.im.w),
    );
}
