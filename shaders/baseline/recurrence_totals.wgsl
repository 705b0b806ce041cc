// Of the array operations of an unfused recurrence's gradients: sums over some steps, added to those of the steps behind
// them. A workgroup takes a channel's decay rate, its d or its bias.

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> work: array<f32>;

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    let states = params.rows * STATES;
    var first = size_gradient(0u, params.first); // that of the bias, unless it is one of the others
    var to = bias_gradient(0u);
    var unit = group - min(group, states + params.rows);
    if (group < states) {
        first = part_rate(0u, 0u, params.first);
        to = rate_gradient(0u, 0u);
        unit = group;
    } else if (group < states + params.rows) {
        first = skip_part(0u, params.first);
        to = skip_gradient(0u);
        unit = group - states;
    }
    var sum = 0.0;
    if (group < params.groups) {
        for (var t = lane; t < params.end - params.first; t += LANES) {
            sum += work[first + unit * params.window + t];
        }
    }
    sums[lane] = sum;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            sums[lane] += sums[lane + half];
        }
    }
    if (lane == 0u && group < params.groups) {
        work[to + unit] += sums[0];
    }
}
