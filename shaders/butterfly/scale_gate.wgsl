// Sums by the share that a gate gives them.

const LOW_RANK: bool = false; // whether they are of the low-rank product

@group(0) @binding(0) var<storage, read> gate: array<f32>; // (1)

fn scale() -> f32 {
    return select(1.0 - gate[0], gate[0], LOW_RANK);
}
