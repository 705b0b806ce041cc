// Who a lane is, where lanes exchange values through workgroup memory.

struct Lane {
    @builtin(local_invocation_index) index: u32,
}

// The lane's number in its workgroup, in the order that exchanges follow.
fn rank(lane: Lane) -> u32 {
    return lane.index;
}
