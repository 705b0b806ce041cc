// What a lane learns from a scan over the workgroup's lanes: the composition of the lanes before it, and of all.
struct LaneScan {
    before: Map,
    total: Map,
}
