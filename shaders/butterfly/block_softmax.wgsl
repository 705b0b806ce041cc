// outputs = softmax of scale x inputs along the rows of a block-sparse matrix. What has no block is minus infinity, and
// so are elements by which blocks overhang the matrix: their outputs are zero.

struct Params {
    groups: u32, // rows of blocks x groups of rows
    block_rows: u32,
    height: u32, // of the matrix, in elements
    width: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> inputs: array<inputs_word>; // (blocks, BLOCK, BLOCK)
@group(0) @binding(2) var<storage, read_write> outputs: array<outputs_word>; // (blocks, BLOCK, BLOCK)

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        normalise(lane, row_of(group, rank(lane)));
    }
}

const LOWEST: f32 = -3.0e38; // less than any score

fn normalise(lane: Lane, row: Row) {
    // The maximum and the sum of one pass: a sum is scaled anew when its maximum grows.
    var top = LOWEST;
    var sum = 0.0;
    for (var quad = row.first; quad < row.end; quad += REDUCE_LANES) {
        let scores = scores_of(row, quad);
        let higher = max(top, largest(scores));
        let terms = exp(scores - vec4<f32>(higher));
        // The first maximum scales no sum: exp would be of about minus LOWEST.
        sum = select(sum * exp(top - higher), 0.0, top == LOWEST);
        sum += dot(select(vec4<f32>(), terms, inside_of(row, quad)), vec4<f32>(1.0));
        top = higher;
    }
    let all = reduce_max(lane, vec4<f32>(top)).x;
    let total = reduce_add(lane, vec4<f32>(select(sum * exp(top - all), 0.0, top == LOWEST))).x;
    for (var quad = row.first; quad < row.end; quad += REDUCE_LANES) {
        let terms = exp(scores_of(row, quad) - vec4<f32>(all)) / vec4<f32>(max(total, 1.0e-38));
        let i = element_of(row, quad);
        outputs_store4(i, i + 4u, select(vec4<f32>(), terms, inside_of(row, quad)));
    }
}

fn scores_of(row: Row, quad: u32) -> vec4<f32> {
    let i = element_of(row, quad);
    return select(vec4<f32>(LOWEST), params.scale * inputs_load4(i, i + 4u), inside_of(row, quad));
}
