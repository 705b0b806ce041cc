// What a workgroup works on: a tile of rows of one head of one sequence, and a share of the tiles that it visits. How
// sequences lie in memory is chosen apart (attention/sequences_*), and what a row is (attention/rows_*).

// Where a sequence lies.
struct Sequence {
    q_start: u32, // its first query among all queries
    q_len: u32,
    k_start: u32, // its first key among all keys
    k_len: u32,
    sums: u32,    // its first query among numbers of one a query, for head 0
}

// A tile of a sequence.
struct Work {
    batch: u32,
    tile: u32,
}

struct Task {
    sequence: Sequence,
    batch: u32,
    head: u32, // of what the rows are
    row: u32,  // the first of the tile
    split: u32,
}

fn find_task(group: u32) -> Task {
    let split = group % params.splits;
    let work = find_work(group / params.splits % params.works);
    let head = group / params.splits / params.works;
    return Task(find_sequence(work.batch), work.batch, head, work.tile * ROWS, split);
}

// A range of the tiles that are visited.
struct Share {
    first: u32,
    end: u32,
}

fn find_share(count: u32, split: u32) -> Share {
    let most = (count + params.splits - 1u) / params.splits;
    return Share(min(split * most, count), min((split + 1u) * most, count));
}

// The place of a query's number among those of one a query, such as log-sum-exps.
fn sum_place(task: Task, query: u32, head: u32) -> u32 {
    return task.sequence.sums + head * params.head_rows + query;
}
