// A block-sparse product alone.

fn add_further(lane: u32, row: u32, output: u32, sums: ptr<function, array<vec4<f32>, SUMS>>) {}
