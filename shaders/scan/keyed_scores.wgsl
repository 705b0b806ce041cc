// The products of a chunk's queries with its keys, scaled, each element times what its key's decay leaves of it:
//
//   scores_ij = scale Σ_n q_in k_jn Π_(j < s ≤ i) factor_sn   for j ≤ i
//
// The decays of steps are multiplied one after the other, which neither overflows nor loses digits, as the exponentials of
// differences of long sums would. A lane takes a key through all later steps; workgroups take a head of a chunk each.

struct Params {
    groups: u32, // chunks x heads
    heads: u32,
    width: u32,  // elements of q and k
    scale: f32,
}

const CHUNK: u32 = 64; // room for a chunk's steps
const LANES: u32 = 64;
const DECAYS: bool = true; // without, `factors` are not read

const FOURS = 2u; // fours of elements staged at a time
const CELLS = CHUNK * (CHUNK + 1u) / 2u;

const_assert CHUNK <= LANES && CELLS % 4u == 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<q_word>; // (tokens, heads, width)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (tokens, heads, width)
@group(0) @binding(3) var<storage, read> factors: array<factors_word>; // (tokens, heads, width)
@group(0) @binding(4) var<storage, read_write> scores: array<f32>; // (chunks, heads, CHUNK, CHUNK), 0 above the diagonal

var<workgroup> queries: array<vec4<f32>, CHUNK * FOURS>;
var<workgroup> fades: array<vec4<f32>, CHUNK * FOURS>;
// The diagonal and what lies below it, row by row.
var<workgroup> sums: array<f32, CELLS>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let record = flat_group(group_id, group_counts);
    if (record < params.groups) {
        score_chunk(lane, record);
    }
}

fn score_chunk(lane: u32, record: u32) {
    let span = span_of(record);
    let head = record % params.heads;
    for (var i = lane; i < CELLS; i += LANES) {
        sums[i] = 0.0;
    }
    for (var first = 0u; first < params.width; first += 4u * FOURS) {
        for (var i = lane; i < CHUNK * FOURS; i += LANES) {
            let line = line_of(span, head, i / FOURS);
            let end = select(0u, line + params.width, i / FOURS < span.steps);
            queries[i] = q_load4(line + first + i % FOURS * 4u, end);
            if (DECAYS) {
                fades[i] = factors_load4(line + first + i % FOURS * 4u, end);
            }
        }
        workgroupBarrier();
        if (lane < span.steps) {
            take_key(span, head, lane, first);
        }
        workgroupBarrier();
    }
    for (var i = lane; i < CHUNK * CHUNK; i += LANES) {
        let row = i / CHUNK;
        let column = i % CHUNK;
        var score = 0.0;
        if (column <= row) {
            score = params.scale * sums[row * (row + 1u) / 2u + column];
        }
        scores[record * CHUNK * CHUNK + i] = score;
    }
}

fn take_key(span: Span, head: u32, column: u32, first: u32) {
    let line = line_of(span, head, column);
    var key: array<vec4<f32>, FOURS>;
    for (var four = 0u; four < FOURS; four++) {
        key[four] = k_load4(line + first + four * 4u, line + params.width);
    }
    for (var row = column; row < span.steps; row++) {
        var sum = 0.0;
        for (var four = 0u; four < FOURS; four++) {
            if (DECAYS && row > column) {
                key[four] *= fades[row * FOURS + four];
            }
            sum += dot(queries[row * FOURS + four], key[four]);
        }
        sums[row * (row + 1u) / 2u + column] += sum;
    }
}

fn line_of(span: Span, head: u32, step: u32) -> u32 {
    return ((span.first + step) * params.heads + head) * params.width;
}
