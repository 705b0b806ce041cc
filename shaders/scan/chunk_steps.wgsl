// The record of every chunk of every head: where it lies, and its steps' decays and weights, which scan/decay_dt or its
// like works out. A lane takes four steps of one head.

struct Params {
    groups: u32, // chunks x fours of a chunk x heads, by LANES
    count: u32,  // chunks x fours of a chunk x heads
    heads: u32,
    low: f32,    // limits of the weight, where there are any
    high: f32,
}

const LANES: u32 = 64;
const CHUNK: u32 = 64; // room for a chunk's steps

const CHUNK_FOURS = CHUNK / 4u;
const RECORD = 1u + 2u * CHUNK_FOURS;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> chunks: array<vec2<u32>>; // the first step and the steps of each chunk
@group(0) @binding(2) var<storage, read_write> records: array<vec4<u32>>; // (chunks, heads)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    if (item < params.count) {
        record_four(item);
    }
}

fn record_four(item: u32) {
    // Neighbouring lanes take neighbouring heads, whose inputs lie side by side.
    let head = item % params.heads;
    let four = item / params.heads % CHUNK_FOURS;
    let index = item / params.heads / CHUNK_FOURS;
    let chunk = chunks[index];
    var logs = vec4<f32>();
    var weights = vec4<f32>();
    for (var n = 0u; n < 4u; n++) {
        let step = 4u * four + n;
        if (step < chunk.y) {
            let taken = take_step((chunk.x + step) * params.heads + head, head);
            logs[n] = taken.log_decay;
            weights[n] = taken.weight;
        }
    }
    let record = (index * params.heads + head) * RECORD;
    records[record + 1u + four] = bitcast<vec4<u32>>(logs);
    records[record + 1u + CHUNK_FOURS + four] = bitcast<vec4<u32>>(weights);
    if (four == 0u) {
        records[record] = vec4<u32>(chunk, 0u, 0u);
    }
}
