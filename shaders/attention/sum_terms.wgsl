// Adds numbers of one a query, over the queries of a head and over sequences, in an order that does not change: the
// gradients of sinks and of slopes. A workgroup makes one sum.

const STEP: u32 = 1;  // from one query's number to the next
const FIRST: u32 = 0; // the first query's number
const BY_BATCH: bool = false; // whether each sequence has sums of its own
const LANES: u32 = 64;

const ROWS = 1u; // of a task, which is a whole head here

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> terms: array<f32>; // (splits, batch, heads, q_len, STEP)
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
        for (var split = 0u; split < params.splits; split++) {
            for (var query = lane; query < sequence.q_len; query += LANES) {
                sum += terms[(split * params.rows + start + query) * STEP + FIRST];
            }
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
