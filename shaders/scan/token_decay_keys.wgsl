// A step of scan/token whose columns decay each on its own.

@group(0) @binding(0) var<storage, read> g: array<f32>; // (batch, heads, b_dim), logarithms

fn decay_of(record: u32, column: u32) -> f32 {
    return exp(g[record * params.b_dim + column]);
}
