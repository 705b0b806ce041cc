// Sums as they are.

fn scale() -> f32 {
    return 1.0;
}
