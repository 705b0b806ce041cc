// The gradients of consecutive factors of a butterfly product and of what they are applied to. A workgroup takes a tile
// of a chunk's rows after the other. For each it applies the factors, a lane keeping the quads that went into every
// second one, and goes back through them with dy in the tile. Each lane has the same quads for all rows, and so sums
// their matrices' gradients by itself, in the order of the rows.

struct Params {
    groups: u32, // stacks x chunks x positions, the last running fastest
    stack: u32,  // the first
    window: u32, // see factor.wgsl
    batch: u32,
    row_tiles: u32,
    chunk: u32,  // tiles of rows that a workgroup takes
    chunks: u32,
    stacks: u32,
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
    dy_row: u32,
    dy_stack: u32,
    dy_width: u32,
    dx_row: u32,
    dx_stack: u32,
    dx_width: u32,
    dx_spare: u32,
}

const LANES: u32 = 256;
const STEPS: u32 = 5; // pairs of factors at most

// Each lane has one quad.
const_assert TILE_NODES == 4u * LANES;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, stacks, nodes), before the pass
@group(0) @binding(2) var<storage, read> twiddle: array<twiddle_word>; // (stacks, factors, nodes / 2, 2, 2)
@group(0) @binding(3) var<storage, read> dy: array<dy_word>; // (batch, stacks, nodes), after the pass
@group(0) @binding(4) var<storage, read_write> dx: array<dx_word>; // (batch, stacks, nodes), before the pass
@group(0) @binding(5) var<storage, read_write> slices: array<vec4<f32>>; // (chunks x sets, stacks, count, nodes / 2, 2, 2)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        let positions = max((1u << params.log_n) >> set_bits(), 1u);
        let chunk = group / positions % params.chunks;
        take_chunk(lane, group / positions / params.chunks, chunk, group % positions);
    }
}

fn take_chunk(lane: u32, stack: u32, chunk: u32, position: u32) {
    let rows = (TILE_NODES >> set_bits()) * ROWS;
    let end = min((chunk + 1u) * params.chunk, params.row_tiles);
    var sums: array<array<Twiddle, 4>, STEPS>;
    for (var tile_row = chunk * params.chunk; tile_row < end; tile_row++) {
        let place = Place(params.stack + stack, tile_row * rows, position);
        load_tile(lane, place, Side(params.x_row, params.x_stack, params.x_width, 0u), 0u);
        workgroupBarrier();
        var before = forth(lane, place);
        load_tile(lane, place, Side(params.dy_row, params.dy_stack, params.dy_width, 0u), 1u);
        workgroupBarrier();
        back(lane, place, &before, &sums);
        store_tile(lane, place, Side(params.dx_row, params.dx_stack, params.dx_width, params.dx_spare));
        // The next rows overwrite the tile.
        workgroupBarrier();
    }
    for (var step = 0u; step < STEPS; step++) {
        store_sums(lane, stack, chunk, position, step, &sums);
    }
}

// Applies the factors, and returns the quads before every second one.
fn forth(lane: u32, place: Place) -> array<array<Point, 4>, STEPS> {
    var before: array<array<Point, 4>, STEPS>;
    for (var step = 0u; step < STEPS; step++) {
        let at = 2u * step;
        if (at < params.count) {
            let levels = min(params.count - at, 2u);
            let axes = axes_of(at, levels);
            let corner = corner_of(lane, axes);
            var points = read_quad(corner, axes);
            before[step] = points;
            // After the last factors nothing is needed.
            if (at + levels < params.count) {
                points = mixed_quad(mix_of(place.stack, place.position, at, corner, axes, false), points);
                let second = mix_of(place.stack, place.position, at + 1u, corner, axes, axes.across);
                write_quad(corner, axes, mixed_quad(second, points));
            }
        }
        workgroupBarrier();
    }
    return before;
}

fn back(
    lane: u32,
    place: Place,
    before: ptr<function, array<array<Point, 4>, STEPS>>,
    sums: ptr<function, array<array<Twiddle, 4>, STEPS>>,
) {
    for (var n = 0u; n < STEPS; n++) {
        let step = STEPS - 1u - n;
        let at = 2u * step;
        if (at < params.count) {
            let levels = min(params.count - at, 2u);
            let axes = axes_of(at, levels);
            let corner = corner_of(lane, axes);
            var gradients = read_quad(corner, axes);
            let first = mix_of(place.stack, place.position, at, corner, axes, false);
            let points = (*before)[step];
            if (levels == 2u) {
                let second = mix_of(place.stack, place.position, at + 1u, corner, axes, axes.across);
                let between = mixed_quad(first, points);
                (*sums)[step][2] = pair_gradient(second, 0u, (*sums)[step][2], gradients, between);
                (*sums)[step][3] = pair_gradient(second, 1u, (*sums)[step][3], gradients, between);
                gradients = mixed_back_quad(second, gradients);
            }
            (*sums)[step][0] = pair_gradient(first, 0u, (*sums)[step][0], gradients, points);
            (*sums)[step][1] = pair_gradient(first, 1u, (*sums)[step][1], gradients, points);
            write_quad(corner, axes, mixed_back_quad(first, gradients));
        }
        workgroupBarrier();
    }
}

// Adds the share of a quad's gradients and inputs to that of one of the pairs that a factor mixes in it.
fn pair_gradient(mix: Mix, pair: u32, sum: Twiddle, gradients: array<Point, 4>, inputs: array<Point, 4>) -> Twiddle {
    var to = gradients;
    var given = inputs;
    let corners = corners_of(mix.across, pair);
    return add_outer(sum, to[corners.x], to[corners.y], given[corners.x], given[corners.y]);
}

fn store_sums(
    lane: u32,
    stack: u32,
    chunk: u32,
    position: u32,
    step: u32,
    sums: ptr<function, array<array<Twiddle, 4>, STEPS>>,
) {
    let at = 2u * step;
    if (at >= params.count) {
        return;
    }
    let levels = min(params.count - at, 2u);
    let axes = axes_of(at, levels);
    let corner = corner_of(lane, axes);
    // Rows of another set are a slice of their own.
    let slice = chunk * (TILE_NODES >> set_bits()) + (corner >> set_bits());
    for (var level = 0u; level < levels; level++) {
        let across = level == 1u && axes.across;
        let pairs = pairs_of(position, at + level, corner, axes, across);
        let first = select(params.first, params.factors - params.first - params.count, TRANSPOSED);
        let factor = factor_at(at + level) - first;
        for (var pair = 0u; pair < 2u; pair++) {
            let half = 1u << (params.log_n - 1u);
            if (pairs[pair] < half) {
                let matrix = ((slice * params.stacks + stack) * params.count + factor) * half + pairs[pair];
                var numbers = as_stored(oriented((*sums)[step][2u * level + pair]));
                for (var part = 0u; part < PARTS; part++) {
                    slices[matrix * PARTS + part] = numbers[part];
                }
            }
        }
    }
}

fn source_load4(source: u32, i: u32, end: u32) -> vec4<f32> {
    if (source == 0u) {
        return x_load4(i, end);
    }
    return dy_load4(i, end);
}

fn result_store4(i: u32, end: u32, value: vec4<f32>) {
    dx_store4(i, end, value);
}
