// A table of the tiles to visit (attention/visit_table), from how much of each is seen (attention/visit_classes). A lane makes
// the list of one row, of as many places as there are columns. For the gradients of keys and values the rows are tiles
// of keys, and the columns tiles of queries.

struct Params {
    groups: u32,  // tiles of LANES lists
    lists: u32,   // over all batches and heads
    rows: u32,    // of a head
    columns: u32,
    row_step: u32,    // from one row of a head to the next among the classes
    column_step: u32, // and from one column to the next
    batch_rows: u32,  // rows from one batch to the next: 0 where they share them
    head_rows: u32,   // rows from one head to the next: 0 where they share them
}

const LANES: u32 = 64;

const ALL = 2u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> classes: array<u32>;
@group(0) @binding(2) var<storage, read_write> visit_table: array<u32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let list = flat_group(group_id, group_counts) * LANES + lane;
    if (list == 0u) {
        visit_table[0] = params.batch_rows;
        visit_table[1] = params.head_rows;
    }
    if (list < params.lists) {
        collect(list);
    }
}

fn collect(list: u32) {
    let head = list / params.rows;
    let first = 2u + 2u * params.lists + list * params.columns;
    var end = first;
    for (var column = 0u; column < params.columns; column++) {
        let seen = classes[head * params.rows * params.columns
            + list % params.rows * params.row_step + column * params.column_step];
        if (seen != 0u) {
            visit_table[end] = 2u * column + select(0u, 1u, seen == ALL);
            end += 1u;
        }
    }
    visit_table[2u + 2u * list] = first;
    visit_table[3u + 2u * list] = end - first;
}
