// The part of a decay's gradient that lies within its chunk, and the part of what passes through the whole chunk.
//
// With W_ts the share of step s in the result of step t times its gradient, the decay of step r takes part in every W_ts
// of s < r ≤ t. These are summed as they stand: sums over all of a row or column, of which the rest is subtracted
// again, cancel where decays are weak. What passes through is the state before the chunk, times its decay over the
// chunk, times the gradient of the state after it. A workgroup takes one head of a chunk.

struct Params {
    groups: u32,  // chunks x heads
    heads: u32,
    b_share: u32, // heads that share b and c
    x_dim: u32,   // elements of x and dy
    b_dim: u32,   // elements of b and c
    scale: f32,
}

const CHUNK: u32 = 64; // room for a chunk's steps

const SIDE = 8u; // lanes along a side of a tile
const LANES = SIDE * SIDE;
const STEPS = SIDE * 4u; // of a tile
const SLICE = 16u; // of a summed dimension staged at a time
const STRIDE = STEPS / 4u + 1u;

const_assert CHUNK % STEPS == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> b: array<b_word>; // (tokens, heads / b_share, b_dim)
@group(0) @binding(2) var<storage, read> c: array<c_word>; // (tokens, heads / b_share, b_dim)
@group(0) @binding(3) var<storage, read> x: array<x_word>; // (tokens, heads, x_dim)
@group(0) @binding(4) var<storage, read> dy: array<dy_word>; // (tokens, heads, x_dim)
@group(0) @binding(5) var<storage, read> states: array<states_word>; // (chunks, heads, x_dim, b_dim), before
@group(0) @binding(6) var<storage, read> dstates: array<dstates_word>; // the gradients of those after
@group(0) @binding(7) var<storage, read_write> within: array<f32>; // (chunks, heads, CHUNK)

var<workgroup> left: array<vec4<f32>, STEPS * STRIDE>;  // rows of a factor, then W, then its sums along rows
var<workgroup> right: array<vec4<f32>, SLICE * STRIDE>; // the other factor, turned
var<workgroup> carried: array<f32, STEPS>; // of each row of W, the sum over the tiles before
var<workgroup> sums: array<f32, CHUNK>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let record = flat_group(group_id, group_counts);
    if (record < params.groups) {
        sum_decays(lane, record);
    }
}

fn sum_decays(lane: u32, record: u32) {
    let head = record % params.heads;
    let span = span_of(record);
    stage_steps(lane, LANES, record);
    for (var step = lane; step < CHUNK; step += LANES) {
        sums[step] = 0.0;
    }
    let through = pass_through(lane, record);
    for (var row = 0u; row < span.steps; row += STEPS) {
        if (lane < STEPS) {
            carried[lane] = 0.0;
        }
        for (var column = 0u; column <= row; column += STEPS) {
            let rows = lane / SIDE * 4u;
            let shares = share_tile(lane, span, head, row, column);
            let at = rows * STRIDE + lane % SIDE;
            left[at] = shares[0];
            left[at + STRIDE] = shares[1];
            left[at + 2u * STRIDE] = shares[2];
            left[at + 3u * STRIDE] = shares[3];
            workgroupBarrier();
            sum_along_rows(lane);
            workgroupBarrier();
            sum_down_columns(lane, row, column);
            workgroupBarrier();
        }
    }
    for (var step = lane; step < span.steps; step += LANES) {
        within[record * CHUNK + step] = sums[step] + through;
    }
}

// Each row's sums over the steps before each of the tile's columns.
fn sum_along_rows(lane: u32) {
    if (lane < STEPS) {
        var sum = carried[lane];
        for (var four = 0u; four < STEPS / 4u; four++) {
            let shares = left[lane * STRIDE + four];
            let two = sum + shares.x;
            let three = two + shares.y;
            let last = three + shares.z;
            left[lane * STRIDE + four] = vec4<f32>(sum, two, three, last);
            sum = last + shares.w;
        }
        carried[lane] = sum;
    }
}

// The sums of the rows that a column's decay takes part in: its own step's and later ones.
fn sum_down_columns(lane: u32, row: u32, column: u32) {
    if (lane < STEPS) {
        var sum = sums[column + lane];
        for (var i = 0u; i < STEPS; i++) {
            let taken = row + i >= column + lane;
            sum += select(0.0, left[i * STRIDE + lane / 4u][lane % 4u], taken);
        }
        sums[column + lane] = sum;
    }
}

// Four rows and columns of W.
fn share_tile(lane: u32, span: Span, head: u32, row: u32, column: u32) -> mat4x4<f32> {
    var states_products: mat4x4<f32>;
    for (var first = 0u; first < params.b_dim; first += SLICE) {
        for (var i = lane; i < STEPS * (SLICE / 4u); i += LANES) {
            let at = first + i % (SLICE / 4u) * 4u;
            left[i / (SLICE / 4u) * STRIDE + i % (SLICE / 4u)] = load_c(span, head, row + i / (SLICE / 4u), at);
        }
        for (var i = lane; i < SIDE * (SLICE / 4u); i += LANES) {
            let step = column + i / (SLICE / 4u) * 4u;
            let at = first + i % (SLICE / 4u) * 4u;
            put_turned(i, mat4x4<f32>(
                load_b(span, head, step, at),
                load_b(span, head, step + 1u, at),
                load_b(span, head, step + 2u, at),
                load_b(span, head, step + 3u, at),
            ));
        }
        workgroupBarrier();
        states_products = multiply(lane, states_products);
        workgroupBarrier();
    }
    var value_products: mat4x4<f32>;
    for (var first = 0u; first < params.x_dim; first += SLICE) {
        for (var i = lane; i < STEPS * (SLICE / 4u); i += LANES) {
            let at = first + i % (SLICE / 4u) * 4u;
            left[i / (SLICE / 4u) * STRIDE + i % (SLICE / 4u)] = load_dy(span, head, row + i / (SLICE / 4u), at);
        }
        for (var i = lane; i < SIDE * (SLICE / 4u); i += LANES) {
            let step = column + i / (SLICE / 4u) * 4u;
            let at = first + i % (SLICE / 4u) * 4u;
            put_turned(i, mat4x4<f32>(
                load_x(span, head, step, at),
                load_x(span, head, step + 1u, at),
                load_x(span, head, step + 2u, at),
                load_x(span, head, step + 3u, at),
            ));
        }
        workgroupBarrier();
        value_products = multiply(lane, value_products);
        workgroupBarrier();
    }
    let early = column / 4u + lane % SIDE;
    let factors = decays(row / 4u + lane / SIDE, early);
    let across = params.scale * weights[early];
    return mat4x4<f32>(
        states_products[0] * value_products[0] * factors[0] * across,
        states_products[1] * value_products[1] * factors[1] * across,
        states_products[2] * value_products[2] * factors[2] * across,
        states_products[3] * value_products[3] * factors[3] * across,
    );
}

fn put_turned(i: u32, lines: mat4x4<f32>) {
    let turned = transpose(lines);
    let at = i % (SLICE / 4u) * 4u * STRIDE + i / (SLICE / 4u);
    right[at] = turned[0];
    right[at + STRIDE] = turned[1];
    right[at + 2u * STRIDE] = turned[2];
    right[at + 3u * STRIDE] = turned[3];
}

fn multiply(lane: u32, before: mat4x4<f32>) -> mat4x4<f32> {
    var products = before;
    for (var four = 0u; four < SLICE / 4u; four++) {
        let l = lane / SIDE * 4u * STRIDE + four;
        let r = four * 4u * STRIDE + lane % SIDE;
        products = add_product(
            products,
            mat4x4<f32>(left[l], left[l + STRIDE], left[l + 2u * STRIDE], left[l + 3u * STRIDE]),
            mat4x4<f32>(right[r], right[r + STRIDE], right[r + 2u * STRIDE], right[r + 3u * STRIDE]),
        );
    }
    return products;
}

fn line_of(span: Span, head: u32, step: u32, share: u32, width: u32) -> u32 {
    return ((span.first + step) * (params.heads / share) + head / share) * width;
}

fn load_b(span: Span, head: u32, step: u32, at: u32) -> vec4<f32> {
    let line = line_of(span, head, step, params.b_share, params.b_dim);
    return b_load4(line + at, select(0u, line + params.b_dim, step < span.steps));
}

fn load_c(span: Span, head: u32, step: u32, at: u32) -> vec4<f32> {
    let line = line_of(span, head, step, params.b_share, params.b_dim);
    return c_load4(line + at, select(0u, line + params.b_dim, step < span.steps));
}

fn load_x(span: Span, head: u32, step: u32, at: u32) -> vec4<f32> {
    let line = line_of(span, head, step, 1u, params.x_dim);
    return x_load4(line + at, select(0u, line + params.x_dim, step < span.steps));
}

fn load_dy(span: Span, head: u32, step: u32, at: u32) -> vec4<f32> {
    let line = line_of(span, head, step, 1u, params.x_dim);
    return dy_load4(line + at, select(0u, line + params.x_dim, step < span.steps));
}

// The state before the chunk by the gradient of the state after it, decayed over the chunk; the same for every lane.
fn pass_through(lane: u32, record: u32) -> f32 {
    let cells = params.x_dim * params.b_dim;
    let start = record * cells;
    var sum = 0.0;
    for (var i = 4u * lane; i < cells; i += 4u * LANES) {
        sum += dot(states_load4(start + i, start + cells), dstates_load4(start + i, start + cells));
    }
    left[lane] = vec4<f32>(sum);
    workgroupBarrier();
    var all = 0.0;
    for (var i = 0u; i < LANES; i++) {
        all += left[i].x;
    }
    let through = exp(between(0u, CHUNK_FOURS)) * all;
    // What follows overwrites the sums.
    workgroupBarrier();
    return through;
}
