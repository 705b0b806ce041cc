// What the steps of a chunk make of one another under the delta rule. With A_ij = (k_i · k_j) decay_ij weight_j for the
// steps j before i, the residuals of a chunk's steps, what each value lacks of what the state holds under its key, are
// (I + A)⁻¹ times what they would be if the state changed in the chunk by its decays alone. A workgroup inverts the
// matrix of one head of a chunk by forward substitution, a row after the other and a lane a column.

struct Params {
    groups: u32, // chunks x heads
    heads: u32,
    key_dim: u32,
}

const CHUNK: u32 = 64; // room for a chunk's steps
const LANES: u32 = 64;

const SLICE = 16u; // elements of keys staged at a time
// Rows of workgroup memory are an odd number of fours apart, which spreads a column over all banks.
const STRIDE = SLICE / 4u + 1u;

const_assert CHUNK <= LANES;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> k: array<k_word>; // (tokens, heads, key_dim)
@group(0) @binding(2) var<storage, read_write> inverses: array<vec4<f32>>; // (chunks, heads, CHUNK, CHUNK)

var<workgroup> keys: array<vec4<f32>, CHUNK * STRIDE>;
// What lies below the diagonal, row by row: A, then what has been inverted of it.
var<workgroup> below: array<f32, CHUNK * (CHUNK - 1u) / 2u>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let record = flat_group(group_id, group_counts);
    if (record < params.groups) {
        invert_chunk(lane, record);
    }
}

fn invert_chunk(lane: u32, record: u32) {
    let span = span_of(record);
    stage_steps(lane, LANES, record);
    for (var i = lane; i < CHUNK * (CHUNK - 1u) / 2u; i += LANES) {
        below[i] = 0.0;
    }
    for (var first = 0u; first < params.key_dim; first += SLICE) {
        stage_keys(lane, span, record % params.heads, first);
        workgroupBarrier();
        for (var tile = lane; tile < CHUNK_FOURS * CHUNK_FOURS; tile += LANES) {
            add_tile(tile / CHUNK_FOURS, tile % CHUNK_FOURS);
        }
        workgroupBarrier();
    }
    for (var tile = lane; tile < CHUNK_FOURS * CHUNK_FOURS; tile += LANES) {
        decay_tile(tile / CHUNK_FOURS, tile % CHUNK_FOURS);
    }
    workgroupBarrier();
    substitute(lane);
    store_inverse(lane, record);
}

fn stage_keys(lane: u32, span: Span, head: u32, first: u32) {
    for (var i = lane; i < CHUNK * (SLICE / 4u); i += LANES) {
        let step = i / (SLICE / 4u);
        let line = ((span.first + step) * params.heads + head) * params.key_dim;
        let end = select(0u, line + params.key_dim, step < span.steps);
        keys[step * STRIDE + i % (SLICE / 4u)] = k_load4(line + first + i % (SLICE / 4u) * 4u, end);
    }
}

// Where the entry of two steps lies; early is before late.
fn place(late: u32, early: u32) -> u32 {
    return late * (late - 1u) / 2u + early;
}

fn key_rows(step: u32, four: u32) -> mat4x4<f32> {
    let at = step * STRIDE + four;
    return mat4x4<f32>(keys[at], keys[at + STRIDE], keys[at + 2u * STRIDE], keys[at + 3u * STRIDE]);
}

// Four rows and columns of the keys' products; a lane always has the same tiles.
fn add_tile(late_four: u32, early_four: u32) {
    if (late_four < early_four) {
        return;
    }
    var products: mat4x4<f32>;
    for (var four = 0u; four < SLICE / 4u; four++) {
        let across = transpose(key_rows(4u * early_four, four));
        products = add_product(products, key_rows(4u * late_four, four), across);
    }
    for (var i = 0u; i < 16u; i++) {
        let late = 4u * late_four + i / 4u;
        let early = 4u * early_four + i % 4u;
        if (early < late) {
            below[place(late, early)] += products[i / 4u][i % 4u];
        }
    }
}

fn decay_tile(late_four: u32, early_four: u32) {
    if (late_four < early_four) {
        return;
    }
    var factors = decays(late_four, early_four);
    for (var i = 0u; i < 16u; i++) {
        let late = 4u * late_four + i / 4u;
        let early = 4u * early_four + i % 4u;
        if (early < late) {
            below[place(late, early)] *= factors[i / 4u][i % 4u] * weights[early_four][i % 4u];
        }
    }
}

fn substitute(lane: u32) {
    for (var row = 1u; row < CHUNK; row++) {
        var sum = 0.0;
        if (lane < row) {
            sum = below[place(row, lane)];
            for (var i = lane + 1u; i < row; i++) {
                sum = fma(below[place(row, i)], below[place(i, lane)], sum);
            }
        }
        // Every lane has read the row of A.
        workgroupBarrier();
        if (lane < row) {
            below[place(row, lane)] = -sum;
        }
        workgroupBarrier();
    }
}

fn store_inverse(lane: u32, record: u32) {
    for (var i = lane; i < CHUNK * CHUNK_FOURS; i += LANES) {
        let row = i / CHUNK_FOURS;
        var four = vec4<f32>();
        for (var n = 0u; n < 4u; n++) {
            let column = i % CHUNK_FOURS * 4u + n;
            if (column < row) {
                four[n] = below[place(row, column)];
            } else if (column == row) {
                four[n] = 1.0;
            }
        }
        inverses[record * CHUNK * CHUNK_FOURS + i] = four;
    }
}
