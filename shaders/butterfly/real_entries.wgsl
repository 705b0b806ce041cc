// Entries that are matrices of real numbers. The kernel declares the tensor `twiddle`.

alias Weight = f32;

fn weight_at(i: u32) -> Weight {
    return twiddle_load(i);
}

// The four weights from the i-th on; those from the `end`-th on are zero.
fn weights_at(i: u32, end: u32) -> array<Weight, 4> {
    let four = twiddle_load4(i, end);
    return array<Weight, 4>(four.x, four.y, four.z, four.w);
}

fn add_product(sum: Point, weight: Weight, point: Point) -> Point {
    return fma(Rows(weight), point, sum);
}
