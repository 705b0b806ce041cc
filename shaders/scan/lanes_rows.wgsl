// Scans the pairs of a workgroup's lanes, ROW_LANES neighbours at a time, with shuffles inside each subgroup alone: the plan
// makes ROW_LANES a divisor of every size that subgroups may have.

const ROW_LANES: u32 = 4;

fn scan_lanes(lane: Lane, pair: Map) -> LaneScan {
    let place = lane.index % ROW_LANES;
    var inclusive = pair;
    for (var step = 1u; step < ROW_LANES; step *= 2u) {
        let before = subgroupShuffleUp(inclusive, step);
        if (place >= step) {
            inclusive = compose(before, inclusive);
        }
    }
    var scan = LaneScan(IDENTITY, subgroupShuffle(inclusive, lane.index - place + ROW_LANES - 1u));
    let left = subgroupShuffleUp(inclusive, 1u);
    if (place > 0u) {
        scan.before = left;
    }
    return scan;
}
