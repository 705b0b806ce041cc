// The tiles of columns that a tile of rows visits, from a table: those of which any element is seen. It begins with how far
// apart the rows of two batches and of two heads are, 0 where they share them; then each row has the place and the number of
// its visits; a visit is twice the number of a tile, and one more where every row sees every column of it.

@group(0) @binding(0) var<storage, read> visit_table: array<u32>;

struct Visits {
    first: u32, // its place
    count: u32, // of tiles
}

struct Visit {
    column: u32, // the first of the tile
    whole: bool, // whether every row sees every column: then masks are skipped
}

fn find_visits(task: Task) -> Visits {
    let row = task.batch * visit_table[0] + task.head * visit_table[1] + task.row / ROWS;
    return Visits(visit_table[2u + 2u * row], visit_table[3u + 2u * row]);
}

fn find_visit(task: Task, visits: Visits, index: u32) -> Visit {
    let visit = visit_table[visits.first + index];
    return Visit(visit / 2u * COLUMNS, visit % 2u == 1u);
}
