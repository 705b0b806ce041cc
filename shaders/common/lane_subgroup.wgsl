// Who a lane is, where lanes exchange values by shuffles.

struct Lane {
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) index: u32,
    @builtin(subgroup_size) size: u32,
}

// The lane's number in its workgroup, in the order that exchanges follow: WGSL ties subgroups to no other.
fn rank(lane: Lane) -> u32 {
    return lane.subgroup * lane.size + lane.index;
}
