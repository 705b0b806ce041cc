// The gradient of a softmax along the rows of a block-sparse matrix: scale x p (dp - sum over the row of p dp).

struct Params {
    groups: u32, // rows of blocks x groups of rows
    block_rows: u32,
    height: u32, // of the matrix, in elements
    width: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> p: array<p_word>; // (blocks, BLOCK, BLOCK)
@group(0) @binding(2) var<storage, read> dp: array<dp_word>; // (blocks, BLOCK, BLOCK)
@group(0) @binding(3) var<storage, read_write> ds: array<ds_word>; // (blocks, BLOCK, BLOCK)

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        differentiate(lane, row_of(group, rank(lane)));
    }
}

fn differentiate(lane: Lane, row: Row) {
    var sum = 0.0;
    for (var quad = row.first; quad < row.end; quad += REDUCE_LANES) {
        let i = element_of(row, quad);
        let products = p_load4(i, i + 4u) * dp_load4(i, i + 4u);
        sum += dot(select(vec4<f32>(), products, inside_of(row, quad)), vec4<f32>(1.0));
    }
    let total = reduce_add(lane, vec4<f32>(sum)).x;
    for (var quad = row.first; quad < row.end; quad += REDUCE_LANES) {
        let i = element_of(row, quad);
        let gradient = params.scale * p_load4(i, i + 4u) * (dp_load4(i, i + 4u) - vec4<f32>(total));
        ds_store4(i, i + 4u, select(vec4<f32>(), gradient, inside_of(row, quad)));
    }
}
