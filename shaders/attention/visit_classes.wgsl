// How much of each tile of queries and keys is seen: none of it, some or all. A workgroup asks the masks about every element
// of one tile; attention/visit_lists makes a table of what is worth a visit.

const ROWS: u32 = 64;        // queries of a tile
const COLUMNS: u32 = 32;     // and keys
const LANES: u32 = 64;
const BY_HEAD: bool = false; // whether heads see different keys
const BY_KEYS: bool = false; // whether the kernel that visits takes tiles of keys and goes over queries

const COLUMN_FOURS = COLUMNS / 4u;

const SOME = 1u;
const ALL = 2u;

const_assert COLUMNS % 4u == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> classes: array<u32>; // (batch, heads, tiles of queries, tiles of keys)

// Bits of SOME, for an element that is seen, and of ALL, for one that is not; the others only fill the variable up.
var<workgroup> votes: array<atomic<u32>, 4>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        classify(lane, group);
    }
}

fn classify(lane: u32, group: u32) {
    let key_tiles = (params.k_len + COLUMNS - 1u) / COLUMNS;
    let query_tiles = (params.q_len + ROWS - 1u) / ROWS;
    let heads = select(1u, params.heads, BY_HEAD);
    let tile = group / key_tiles;
    let batch = tile / query_tiles / heads;
    let head = tile / query_tiles % heads;
    let task = Task(find_sequence(batch), batch, head, tile % query_tiles * ROWS, 0u);
    if (lane == 0u) {
        atomicStore(&votes[0], 0u);
    }
    workgroupBarrier();
    let vote = look_at(lane, task, group % key_tiles * COLUMNS);
    if (vote != 0u) {
        atomicOr(&votes[0], vote);
    }
    workgroupBarrier();
    if (lane == 0u) {
        let all = atomicLoad(&votes[0]);
        classes[group] = select(select(SOME, ALL, (all & ALL) == 0u), 0u, (all & SOME) == 0u);
    }
}

// What a lane's share of the tile votes for.
fn look_at(lane: u32, task: Task, first_key: u32) -> u32 {
    var vote = 0u;
    for (var i = lane; i < ROWS * COLUMN_FOURS; i += LANES) {
        let query = task.row + i / COLUMN_FOURS;
        let key = first_key + i % COLUMN_FOURS * 4u;
        if (query < task.sequence.q_len) {
            let seen = sees(task.sequence, query, key) & shows(task, task.head, query, key);
            vote |= select(0u, SOME, any(seen)) | select(ALL, 0u, all(seen));
        } else if (BY_KEYS) {
            // Where queries are gone over, none past the end may pass for one that sees.
            vote |= ALL;
        }
    }
    return vote;
}
