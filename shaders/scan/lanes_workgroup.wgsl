// Scans the pairs of a workgroup's lanes through workgroup memory (Hillis and Steele 1986): log2(LANES) doubling
// steps. The kernel declares LANES and `compose`.

var<workgroup> lane_pairs: array<Map, LANES>;

fn scan_lanes(lane: Lane, pair: Map) -> LaneScan {
    var inclusive = pair;
    lane_pairs[lane.index] = inclusive;
    workgroupBarrier();
    for (var step = 1u; step < LANES; step *= 2u) {
        if (lane.index >= step) {
            inclusive = compose(lane_pairs[lane.index - step], inclusive);
        }
        workgroupBarrier();
        lane_pairs[lane.index] = inclusive;
        workgroupBarrier();
    }
    var scan = LaneScan(IDENTITY, lane_pairs[LANES - 1u]);
    if (lane.index > 0u) {
        scan.before = lane_pairs[lane.index - 1u];
    }
    // The next call overwrites the pairs.
    workgroupBarrier();
    return scan;
}
