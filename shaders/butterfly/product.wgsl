// Consecutive factors of a butterfly product, of one block or of several: a workgroup loads a tile, applies them all in
// its own memory, and stores it. A pass is all there is where a tile holds whole rows.

struct Params {
    groups: u32, // stacks x tiles of rows x positions, the last running fastest
    stack: u32,  // the first
    window: u32, // see factor.wgsl
    batch: u32,
    row_tiles: u32,
    log_n: u32,      // of the nodes of a row
    factors: u32,    // of all blocks
    increasing: u32, // 1 if the first block's strides grow
    first: u32,      // factor of this pass, in the order in which they are applied
    count: u32,      // factors of this pass
    low: u32,        // bits of a node's number: see tile.wgsl
    bits: u32,
    run: u32,
    x_row: u32, // sides: see tile.wgsl
    x_stack: u32,
    x_width: u32,
    y_row: u32,
    y_stack: u32,
    y_width: u32,
    y_spare: u32,
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, stacks, nodes x ENTRY)
@group(0) @binding(2) var<storage, read> twiddle: array<twiddle_word>; // (stacks, factors, nodes / 2, 2, 2, ENTRY, ENTRY)
@group(0) @binding(3) var<storage, read_write> y: array<y_word>; // (batch, stacks, nodes x ENTRY)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_tile(lane, place_of(group));
    }
}

fn place_of(group: u32) -> Place {
    let positions = (1u << params.log_n) >> set_bits();
    // A row of two nodes has less than a tile, which has four.
    let across = max(positions, 1u);
    let rows = (TILE_NODES >> set_bits()) * ROWS;
    let row_tile = group / across % params.row_tiles;
    return Place(params.stack + group / across / params.row_tiles, row_tile * rows, group % across);
}

fn multiply_tile(lane: u32, place: Place) {
    load_tile(lane, place, Side(params.x_row, params.x_stack, params.x_width, 0u), 0u);
    workgroupBarrier();
    apply_factors(lane, place);
    store_tile(lane, place, Side(params.y_row, params.y_stack, params.y_width, params.y_spare));
}

fn source_load4(source: u32, i: u32, end: u32) -> vec4<f32> {
    return x_load4(i, end);
}

fn result_store4(i: u32, end: u32, value: vec4<f32>) {
    y_store4(i, end, value);
}
