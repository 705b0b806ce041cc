// Adds numbers of one a query, over the queries of a head and over sequences, in an order that does not change: the
// gradients of sinks and of slopes (attention/slope_term). A workgroup makes one sum.

const SLOPES: bool = false;   // what the terms are of
const BY_BATCH: bool = false; // whether each sequence has sums of its own
const LANES: u32 = 64;

const ROWS = 1u; // of a task, which is a whole head here

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> terms: array<vec4<f32>>; // (splits, batch, heads, q_len)
@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // (heads) or (batch, heads)

var<workgroup> lane_sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        add(lane, group);
    }
}

fn add(lane: u32, group: u32) {
    let first = select(0u, group / params.heads, BY_BATCH);
    let end = select(params.batch, first + 1u, BY_BATCH);
    var sum = 0.0;
    for (var batch = first; batch < end; batch++) {
        let sequence = find_sequence(batch);
        let start = sequence.sums + group % params.heads * params.head_rows;
        for (var query = lane; query < sequence.q_len; query += LANES) {
            sum += term(start + query);
        }
    }
    lane_sums[lane] = sum;
    workgroupBarrier();
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        if (lane < step) {
            lane_sums[lane] += lane_sums[lane + step];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        sums[group] = lane_sums[0];
    }
}

fn term(place: u32) -> f32 {
    var all: vec4<f32>;
    for (var split = 0u; split < params.splits; split++) {
        all += terms[split * params.rows + place];
    }
    return select(all.w, fma(all.y, all.z, all.x), SLOPES);
}
