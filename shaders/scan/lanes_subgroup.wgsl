// Scans the pairs of a workgroup's lanes with shuffles inside each subgroup and one exchange of subgroup totals
// through workgroup memory. The kernel declares LANES and `compose`; the plan makes LANES a multiple of every size
// that subgroups may have, so that none is part-filled.

const ROW_LANES: u32 = 256; // all lanes

// Subgroups have at least four lanes.
const SUBGROUPS: u32 = LANES / 4u;

var<workgroup> subgroup_pairs: array<Map, SUBGROUPS>;

fn scan_lanes(lane: Lane, pair: Map) -> LaneScan {
    var inclusive = pair;
    for (var step = 1u; step < lane.size; step *= 2u) {
        let before = subgroupShuffleUp(inclusive, step);
        if (lane.index >= step) {
            inclusive = compose(before, inclusive);
        }
    }
    if (lane.index == lane.size - 1u) {
        subgroup_pairs[lane.subgroup] = inclusive;
    }
    workgroupBarrier();
    // There are few subgroups: each lane runs over them all.
    var scan = LaneScan(IDENTITY, IDENTITY);
    for (var subgroup = 0u; subgroup < LANES / lane.size; subgroup++) {
        if (subgroup == lane.subgroup) {
            scan.before = scan.total;
        }
        scan.total = compose(scan.total, subgroup_pairs[subgroup]);
    }
    let left = subgroupShuffleUp(inclusive, 1u);
    if (lane.index > 0u) {
        scan.before = compose(scan.before, left);
    }
    // The next call overwrites the totals.
    workgroupBarrier();
    return scan;
}
