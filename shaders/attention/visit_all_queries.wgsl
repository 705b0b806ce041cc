// The tiles of queries that a tile of keys visits: all between the first query that sees any of its keys and the last.

struct Visits {
    first: u32, // query
    count: u32, // of tiles
}

struct Visit {
    column: u32, // the first query
    whole: bool, // whether every query sees every key of the tile: then masks are skipped
}

fn find_visits(task: Task) -> Visits {
    let first = first_query(task.sequence, task.row);
    let end = end_query(task.sequence, min(task.row + ROWS, key_count(task)) - 1u);
    return Visits(first, (max(first, end) - first + COLUMNS - 1u) / COLUMNS);
}

fn find_visit(task: Task, visits: Visits, index: u32) -> Visit {
    let query = visits.first + index * COLUMNS;
    let inside = task.row + ROWS <= key_count(task);
    let seen_last = query >= first_query(task.sequence, task.row + ROWS - 1u);
    let seen_first = query + COLUMNS <= end_query(task.sequence, task.row);
    return Visit(query, !MASKED && inside && seen_first && seen_last);
}
