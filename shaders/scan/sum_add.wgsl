// Sums of scan/sum_terms that are part of what is summed a slice at a time.

@group(0) @binding(0) var<storage, read_write> sums: array<f32>;

fn finish_sums(i: u32, end: u32, sum: vec4<f32>) {
    for (var n = 0u; n < 4u; n++) {
        if (i + n < end) {
            sums[i + n] += sum[n];
        }
    }
}
