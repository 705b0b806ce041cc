// Splits the terms of sums among lanes: a workgroup takes QUADS times four sums, and LANES / QUADS lanes a quad, always in
// the same order.

const_assert LANES % QUADS == 0u;

var<workgroup> shares: array<vec4<f32>, LANES>;

// A lane's share of a sum: of `count` terms, `stride` apart from `first` on.
fn share_of(lane: u32, first: u32, count: u32, stride: u32) -> f32 {
    var share = 0.0;
    var place = first + lane / QUADS * stride;
    for (var term = lane / QUADS; term < count; term += LANES / QUADS) {
        share += terms[place];
        place += LANES / QUADS * stride;
    }
    return share;
}

// Four whole sums, for each of the first QUADS lanes.
fn sum_shares(lane: u32, share: vec4<f32>) -> vec4<f32> {
    shares[lane] = share;
    workgroupBarrier();
    var sum = share;
    if (lane < QUADS) {
        for (var other = lane + QUADS; other < LANES; other += QUADS) {
            sum += shares[other];
        }
    }
    return sum;
}
