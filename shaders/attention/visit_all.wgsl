// The tiles of keys that a tile of queries visits: all between the first key that any of its queries sees and the last.

struct Visits {
    first: u32, // key
    count: u32, // of tiles
}

struct Visit {
    column: u32, // the first key
    whole: bool, // whether every query of the tile sees every key: then masks are skipped
}

fn find_visits(task: Task) -> Visits {
    // Fours of keys start at multiples of four.
    let first = first_key(task.sequence, row_query(task.row)) / 4u * 4u;
    let end = end_key(task.sequence, row_query(last_row(task)));
    return Visits(first, (max(first, end) - first + COLUMNS - 1u) / COLUMNS);
}

fn find_visit(task: Task, visits: Visits, index: u32) -> Visit {
    let key = visits.first + index * COLUMNS;
    let seen_by_last = key >= first_key(task.sequence, row_query(last_row(task)));
    let seen_by_first = key + COLUMNS <= end_key(task.sequence, row_query(task.row));
    return Visit(key, !MASKED && seen_by_first && seen_by_last);
}

fn last_row(task: Task) -> u32 {
    return min(task.row + ROWS, row_count(task)) - 1u;
}
