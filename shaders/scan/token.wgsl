// One step of every sequence: the state decays, takes in an outer product, and is read. A workgroup takes some rows of
// one head's state: lanes side by side take columns side by side, and four rows each.

struct Params {
    groups: u32,  // batch x heads x tiles of rows
    heads: u32,
    b_share: u32, // heads that share b and c
    x_dim: u32,   // rows of a state
    b_dim: u32,   // columns of a state
    row_tiles: u32,
    skip_head: u32,    // elements of `skip` from head to head
    skip_channel: u32, // and from channel to channel
    scale: f32,
}

const LANES: u32 = 64;
const REDUCE_LANES: u32 = 16; // lanes across a state
const CHUNK: u32 = 4;
const HAS_SKIP: bool = true; // without, `skip` is not read

const ROWS = LANES / REDUCE_LANES * 4u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, heads, x_dim)
@group(0) @binding(2) var<storage, read> b: array<b_word>; // (batch, heads / b_share, b_dim)
@group(0) @binding(3) var<storage, read> c: array<c_word>; // (batch, heads / b_share, b_dim)
@group(0) @binding(4) var<storage, read> skip: array<f32>; // (heads) or (heads, x_dim)
@group(0) @binding(5) var<storage, read_write> states: array<f32>; // (batch, heads, x_dim, b_dim)
@group(0) @binding(6) var<storage, read_write> out: array<out_word>; // (batch, heads, x_dim)

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        take_token(lane, group / params.row_tiles, group % params.row_tiles * ROWS);
    }
}

fn take_token(lane: Lane, record: u32, first_row: u32) {
    let head = record % params.heads;
    // The first of the record's fours.
    let weight = bitcast<f32>(records[record * RECORD + 2u].x);
    let row = first_row + rank(lane) / REDUCE_LANES * 4u;
    let line = record * params.x_dim;
    let four = x_load4(line + row, line + params.x_dim);
    let added = weight * (four - held_under_key(lane, record, row));
    let shared_line = record / params.b_share * params.b_dim;
    var sums = vec4<f32>();
    for (var column = rank(lane) % REDUCE_LANES; column < params.b_dim; column += REDUCE_LANES) {
        let key = b_load(shared_line + column);
        let query = c_load(shared_line + column);
        let decay = decay_of(record, column);
        for (var n = 0u; n < 4u; n++) {
            if (row + n < params.x_dim) {
                let at = (line + row + n) * params.b_dim + column;
                let state = fma(decay, states[at], added[n] * key);
                states[at] = state;
                sums[n] = fma(state, query, sums[n]);
            }
        }
    }
    let y = params.scale * reduce_add(lane, sums);
    if (rank(lane) % REDUCE_LANES == 0u) {
        out_store4(line + row, line + params.x_dim, gated(line + row, line + params.x_dim, y + skipped(head, row, four)));
    }
}

fn skipped(head: u32, row: u32, four: vec4<f32>) -> vec4<f32> {
    if (!HAS_SKIP) {
        return vec4<f32>();
    }
    var factors: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        let channel = min(row + n, params.x_dim - 1u);
        factors[n] = skip[head * params.skip_head + channel * params.skip_channel];
    }
    return factors * four;
}
