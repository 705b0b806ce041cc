// A matrix product for every chunk of every head, whose rows are the chunk's steps:
//
//   Σ_l left_il right_l
//
// Modules say what the factors are, and what becomes of the results. A workgroup takes all steps and a tile of columns.

struct Params {
    groups: u32, // chunks x heads x tiles
    heads: u32,
    depth: u32, // elements of a row of the left factor, unless these are steps
    width: u32, // elements of a row of the result
    column_tiles: u32,
    scale: f32,
}

const CHUNK: u32 = 64; // room for a chunk's steps

const COLUMN_LANES = 8u; // lanes across a tile, four columns each
const LANES = CHUNK / 4u * COLUMN_LANES;
const SLICE = 16u; // of the summed dimension staged at a time
// Rows of workgroup memory are an odd number of fours apart, which spreads a column over all banks.
const STRIDE = SLICE / 4u + 1u;

@group(0) @binding(0) var<uniform> params: Params;

var<workgroup> left: array<vec4<f32>, CHUNK * STRIDE>;
var<workgroup> right: array<vec4<f32>, SLICE * COLUMN_LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_chunk(lane, group / params.column_tiles, group % params.column_tiles * COLUMN_LANES * 4u);
    }
}

fn multiply_chunk(lane: u32, record: u32, first_column: u32) {
    let head = record % params.heads;
    let span = span_of(record);
    stage_steps(lane, LANES, record);
    workgroupBarrier();
    prepare_steps(lane);
    let row = lane / COLUMN_LANES * 4u;
    var sum: mat4x4<f32>;
    for (var first = 0u; first < depth_of(span); first += SLICE) {
        stage_left(lane, record, span, first);
        stage_right(lane, record, span, first, first_column);
        workgroupBarrier();
        for (var four = 0u; four < SLICE / 4u; four++) {
            let l = row * STRIDE + four;
            let r = four * 4u * COLUMN_LANES + lane % COLUMN_LANES;
            sum = add_product(
                sum,
                mat4x4<f32>(left[l], left[l + STRIDE], left[l + 2u * STRIDE], left[l + 3u * STRIDE]),
                mat4x4<f32>(
                    right[r],
                    right[r + COLUMN_LANES],
                    right[r + 2u * COLUMN_LANES],
                    right[r + 3u * COLUMN_LANES],
                ),
            );
        }
        workgroupBarrier();
    }
    let column = first_column + lane % COLUMN_LANES * 4u;
    for (var i = 0u; i < 4u; i++) {
        if (row + i < span.steps && column < params.width) {
            let line = ((span.first + row + i) * params.heads + head) * params.width;
            finish_four(line + column, line + params.width, sum[i]);
        }
    }
}
