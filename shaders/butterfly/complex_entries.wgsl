// Entries that are matrices of complex numbers. The kernel declares the tensor `twiddle`.

const CONJUGATE: bool = false; // take the conjugates of the weights, as an adjoint does

alias Weight = vec2<f32>;

fn weight_at(i: u32) -> Weight {
    return conjugated(twiddle_load(2u * i), twiddle_load(2u * i + 1u));
}

// The four weights from the i-th on; those from the `end`-th on are zero.
fn weights_at(i: u32, end: u32) -> array<Weight, 4> {
    let first = twiddle_load4(2u * i, 2u * end);
    let second = twiddle_load4(2u * i + 4u, 2u * end);
    return array<Weight, 4>(
        conjugated(first.x, first.y),
        conjugated(first.z, first.w),
        conjugated(second.x, second.y),
        conjugated(second.z, second.w),
    );
}

fn conjugated(re: f32, im: f32) -> Weight {
    return vec2<f32>(re, select(im, -im, CONJUGATE));
}

fn add_product(sum: Point, weight: Weight, point: Point) -> Point {
    let re = fma(Rows(weight.x), point.re, fma(Rows(-weight.y), point.im, sum.re));
    let im = fma(Rows(weight.x), point.im, fma(Rows(weight.y), point.re, sum.im));
    return Point(re, im);
}
