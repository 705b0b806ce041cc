// Sums of scan/sum_terms that are whole.

@group(0) @binding(0) var<storage, read_write> sums: array<sums_word>;

fn finish_sums(i: u32, end: u32, sum: vec4<f32>) {
    sums_store4(i, end, sum);
}
