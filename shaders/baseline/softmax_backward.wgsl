// The gradient of every row of attention scores, from the weights and their gradients: weights times what their gradients
// exceed the row's mean of them by. A workgroup takes one row: a first pass finds the mean by weight, a second writes.

struct Params {
    groups: u32, // batch x heads x queries
    keys: u32,
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<weights_word>; // (batch, heads, queries, keys)
@group(0) @binding(2) var<storage, read> d_weights: array<d_weights_word>; // (batch, heads, queries, keys)
@group(0) @binding(3) var<storage, read_write> d_scores: array<d_scores_word>; // (batch, heads, queries, keys)

var<workgroup> lane_sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts);
    if (row < params.groups) {
        differentiate_row(lane, row * params.keys, (row + 1u) * params.keys);
    }
}

fn differentiate_row(lane: u32, start: u32, end: u32) {
    var products = vec4<f32>();
    for (var i = start + 4u * lane; i < end; i += 4u * LANES) {
        products = fma(weights_load4(i, end), d_weights_load4(i, end), products);
    }
    let mean = sum_lanes(lane, dot(products, vec4<f32>(1.0)));
    for (var i = start + 4u * lane; i < end; i += 4u * LANES) {
        d_scores_store4(i, end, weights_load4(i, end) * (d_weights_load4(i, end) - mean));
    }
}

fn sum_lanes(lane: u32, value: f32) -> f32 {
    lane_sums[lane] = value;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            lane_sums[lane] += lane_sums[lane + width];
        }
        workgroupBarrier();
    }
    return lane_sums[0];
}
