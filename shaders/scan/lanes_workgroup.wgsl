// Scans the pairs of a workgroup's lanes, ROW_LANES neighbours at a time, through workgroup memory (Hillis and Steele 1986):
// log2(ROW_LANES) doubling steps. The kernel declares LANES and `compose`.

const ROW_LANES: u32 = 256; // all lanes, or a power of two that divides them

var<workgroup> lane_pairs: array<Map, LANES>;

fn scan_lanes(lane: Lane, pair: Map) -> LaneScan {
    let place = lane.index % ROW_LANES;
    var inclusive = pair;
    lane_pairs[lane.index] = inclusive;
    workgroupBarrier();
    for (var step = 1u; step < ROW_LANES; step *= 2u) {
        if (place >= step) {
            inclusive = compose(lane_pairs[lane.index - step], inclusive);
        }
        workgroupBarrier();
        lane_pairs[lane.index] = inclusive;
        workgroupBarrier();
    }
    var scan = LaneScan(IDENTITY, lane_pairs[lane.index - place + ROW_LANES - 1u]);
    if (place > 0u) {
        scan.before = lane_pairs[lane.index - 1u];
    }
    // The next call overwrites the pairs.
    workgroupBarrier();
    return scan;
}
