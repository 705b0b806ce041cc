// A workgroup's share of the visits of a tile of keys, which come from all query heads that share its key head, those of one
// head after those of the head before it.

fn find_head_shares(first: Task, heads: u32) -> Share {
    var task = first;
    var total = 0u;
    for (var n = 0u; n < heads; n++) {
        total += find_visits(task).count;
        task.head += 1u;
    }
    return find_share(total, task.split);
}

// The visits of one head that are in the share of all, where so many have passed before them.
fn find_head_share(all: Share, passed: u32, count: u32) -> Share {
    let end = clamp(all.end, passed, passed + count) - passed;
    return Share(max(all.first, passed) - passed, end);
}
