// Brings rows to where they belong: new keys and values behind those of their sequences in a cache, and queries to a
// tensor of their own. On the way rows are turned by their positions (attention/rotary) and scaled for 8-bit integers
// (attention/scales_*). A lane takes four elements of one row.

struct Params {
    groups: u32,  // tiles of LANES fours, over all rows
    rows: u32,    // batch x len x heads
    len: u32,     // rows of a batch and head
    heads: u32,
    advance: u32, // from the position of one row to the next: 1, or 0 where all stand at one
    batch: u32,   // sequences
    page: u32,    // keys of a page, where there are any
}

const WIDTH: u32 = 64; // of a row
const LANES: u32 = 64;

const FOURS = (WIDTH + 3u) / 4u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, len, heads, WIDTH)
@group(0) @binding(2) var<storage, read> firsts: array<vec2<u32>>; // (batch): the place of the first row, its position
@group(0) @binding(3) var<storage, read_write> y: array<y_word>; // (places, heads, WIDTH)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    if (item < params.rows * FOURS) {
        bring(item / FOURS, item % FOURS * 4u);
    }
}

fn bring(row: u32, column: u32) {
    let head = row % params.heads;
    let i = row / params.heads % params.len;
    let first = firsts[row / params.heads / params.len];
    let values = load_turned4(row * WIDTH, column, first.y + i * params.advance);
    let start = (cache_key(first.x + i) * params.heads + head) * WIDTH;
    y_store4(start + column, start + WIDTH, scaled(values, head));
}
