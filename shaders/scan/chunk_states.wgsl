// What each chunk of each head adds to the state at its end: Σ weight_s decay_s x_s ⊗ b_s over its steps, the decay from
// after the step to the chunk's end. In reverse, what it adds to the gradient of the state at its beginning: the decays
// are those from the beginning, and weights do not count. A workgroup takes a tile of a chunk's state.

struct Params {
    groups: u32, // chunks x heads x tiles of a state
    heads: u32,
    b_share: u32, // heads that share b
    x_dim: u32,   // rows of a state
    b_dim: u32,   // columns of a state
    row_tiles: u32,
    column_tiles: u32,
    scale: f32,
}

const ROW_LANES: u32 = 16;   // lanes down a tile
const COLUMN_LANES: u32 = 8; // lanes across a tile
const FOURS: u32 = 2;        // fours of columns a lane
const CHUNK: u32 = 64;       // room for a chunk's steps
const REVERSE: bool = false;

const SLICE = 16u; // steps staged at a time
const LANES = ROW_LANES * COLUMN_LANES;
const ROWS = ROW_LANES * 4u;
const TILE_FOURS = COLUMN_LANES * FOURS;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (tokens, heads, x_dim)
@group(0) @binding(2) var<storage, read> b: array<b_word>; // (tokens, heads / b_share, b_dim)
@group(0) @binding(3) var<storage, read_write> states: array<states_word>; // (chunks, heads, x_dim, b_dim)
@group(0) @binding(4) var<storage, read_write> totals: array<f32>; // (chunks, heads), logarithms of whole chunks' decays

// Both by steps first, so that a lane reads its rows and its columns as vectors.
var<workgroup> x_tile: array<vec4<f32>, SLICE * ROW_LANES>;
var<workgroup> b_tile: array<vec4<f32>, SLICE * TILE_FOURS>;

alias Tile = array<mat4x4<f32>, FOURS>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        sum_tile(lane, group);
    }
}

fn sum_tile(lane: u32, group: u32) {
    let row = group / params.column_tiles % params.row_tiles * ROWS;
    let column = group % params.column_tiles * TILE_FOURS * 4u;
    let record = group / params.column_tiles / params.row_tiles;
    let head = record % params.heads;
    let span = span_of(record);
    stage_steps(lane, LANES, record);
    workgroupBarrier();
    if (lane == 0u && row + column == 0u) {
        totals[record] = between(0u, CHUNK_FOURS);
    }
    for (var four = lane; four < CHUNK_FOURS; four += LANES) {
        if (REVERSE) {
            weights[four] = params.scale * decays_in(four);
        } else {
            weights[four] = params.scale * weights[four] * decays_out(four);
        }
    }
    workgroupBarrier();

    let lane_row = lane / COLUMN_LANES;
    let lane_column = lane % COLUMN_LANES;
    var sums: Tile;
    let slices = (span.steps + SLICE - 1u) / SLICE;
    for (var i = 0u; i < slices; i++) {
        // From what has decayed most: terms too small for a large sum would each be rounded with it.
        let step = SLICE * select(i, slices - 1u - i, REVERSE);
        stage_x(lane, span, head, row, step);
        stage_b(lane, span, head / params.b_share, column, step);
        workgroupBarrier();
        for (var s = 0u; s < SLICE; s++) {
            let t = select(s, SLICE - 1u - s, REVERSE);
            let down = x_tile[t * ROW_LANES + lane_row];
            for (var j = 0u; j < FOURS; j++) {
                sums[j] = add_outer(sums[j], down, b_tile[t * TILE_FOURS + j * COLUMN_LANES + lane_column]);
            }
        }
        // The next slice overwrites the tiles.
        workgroupBarrier();
    }
    for (var j = 0u; j < FOURS; j++) {
        let at = column + 4u * (lane_column + j * COLUMN_LANES);
        store(record, row + 4u * lane_row, at, sums[j][0]);
        store(record, row + 4u * lane_row + 1u, at, sums[j][1]);
        store(record, row + 4u * lane_row + 2u, at, sums[j][2]);
        store(record, row + 4u * lane_row + 3u, at, sums[j][3]);
    }
}

fn stage_x(lane: u32, span: Span, head: u32, row: u32, first: u32) {
    for (var i = lane; i < SLICE * ROW_LANES; i += LANES) {
        let step = first + i / ROW_LANES;
        let line = ((span.first + step) * params.heads + head) * params.x_dim;
        let end = select(0u, line + params.x_dim, step < span.steps);
        // Steps past the end read nothing, and a weight that is not a number must not make one of it.
        let weight = select(0.0, weights[min(step, CHUNK - 1u) / 4u][step % 4u], step < span.steps);
        x_tile[i] = weight * x_load4(line + row + 4u * (i % ROW_LANES), end);
    }
}

fn stage_b(lane: u32, span: Span, shared_head: u32, column: u32, first: u32) {
    for (var i = lane; i < SLICE * TILE_FOURS; i += LANES) {
        let step = first + i / TILE_FOURS;
        let line = ((span.first + step) * (params.heads / params.b_share) + shared_head) * params.b_dim;
        let end = select(0u, line + params.b_dim, step < span.steps);
        b_tile[i] = b_load4(line + column + 4u * (i % TILE_FOURS), end);
    }
}

fn store(record: u32, row: u32, column: u32, four: vec4<f32>) {
    let line = (record * params.x_dim + row) * params.b_dim;
    let stored = row < params.x_dim && column < params.b_dim;
    states_store4(line + column, select(0u, line + params.b_dim, stored), four);
}

// sum + down ⊗ across.
fn add_outer(sum: mat4x4<f32>, down: vec4<f32>, across: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        fma(vec4<f32>(down.x), across, sum[0]),
        fma(vec4<f32>(down.y), across, sum[1]),
        fma(vec4<f32>(down.z), across, sum[2]),
        fma(vec4<f32>(down.w), across, sum[3]),
    );
}
