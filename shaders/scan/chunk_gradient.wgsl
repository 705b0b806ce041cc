// The gradients of a chunk's decays and weights, put together for every step r of one head:
//
//   Σ_{t ≥ r} (what step t reads of the state before) + Σ_{s < r} (what step s adds to the state after) + the part
//   within the chunk and through it
//
// each sum for itself, and what follows from them for the tensors that decays and weights are made of, which a module
// knows. A lane takes four steps.

struct Params {
    groups: u32, // chunks x heads
    heads: u32,
    chunks: u32, // of all sequences
    first: u32,  // of them that are here, the first
    tokens: u32,
    planes: u32, // of the products that belong to c; as many follow that belong to b
    low: f32,    // limits of the weight, where there are any
    high: f32,
}

const CHUNK: u32 = 64; // room for a chunk's steps
const LANES: u32 = 64;

const_assert CHUNK / 4u <= LANES;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> within: array<f32>; // (chunks, heads, CHUNK)
@group(0) @binding(2) var<storage, read> dots: array<vec2<f32>>; // (2 planes, tokens, heads)
@group(0) @binding(3) var<storage, read_write> parts: array<f32>; // (2, heads, chunks), of the heads' own gradients

var<workgroup> reads: array<vec4<f32>, LANES>;
var<workgroup> adds: array<vec4<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let record = flat_group(group_id, group_counts);
    if (record < params.groups) {
        finish_chunk(lane, record);
    }
}

fn finish_chunk(lane: u32, record: u32) {
    let head = record % params.heads;
    let span = span_of(record);
    stage_steps(lane, LANES, record);
    workgroupBarrier();
    let weight = weights[min(lane, CHUNK_FOURS - 1u)];
    var read = vec4<f32>();
    var add = vec4<f32>();
    var weight_gradient = vec4<f32>();
    for (var n = 0u; n < 4u; n++) {
        let step = 4u * lane + n;
        if (step < span.steps) {
            let at = (span.first + step) * params.heads + head;
            read[n] = sum_planes(at, 0u).y;
            let of_b = sum_planes(at, params.planes);
            weight_gradient[n] = of_b.x;
            add[n] = weight[n] * of_b.y;
        }
    }
    reads[lane] = read;
    adds[lane] = add;
    workgroupBarrier();
    var later = 0.0;
    for (var four = lane + 1u; four < CHUNK_FOURS; four++) {
        later += total(reads[four]);
    }
    var earlier = 0.0;
    for (var four = 0u; four < min(lane, CHUNK_FOURS); four++) {
        earlier += total(adds[four]);
    }
    // Steps from each on, and before each.
    let onward = vec4<f32>(total(read), (read.y + read.z) + read.w, read.z + read.w, read.w) + later;
    let before = vec4<f32>(0.0, add.x, add.x + add.y, (add.x + add.y) + add.z) + earlier;
    var sums = vec2<f32>();
    for (var n = 0u; n < 4u; n++) {
        let step = 4u * lane + n;
        if (step < span.steps) {
            let log_gradient = onward[n] + before[n] + within[record * CHUNK + step];
            let at = (span.first + step) * params.heads + head;
            sums += finish_step(at, head, weight[n], log_gradient, weight_gradient[n]);
        }
    }
    workgroupBarrier();
    reads[lane] = vec4<f32>(sums, 0.0, 0.0);
    workgroupBarrier();
    if (lane < 2u) {
        var sum = 0.0;
        for (var i = 0u; i < CHUNK_FOURS; i++) {
            sum += reads[i][lane];
        }
        parts[(lane * params.heads + head) * params.chunks + params.first + record / params.heads] = sum;
    }
}

fn sum_planes(at: u32, first: u32) -> vec2<f32> {
    var sum = vec2<f32>();
    for (var plane = first; plane < first + params.planes; plane++) {
        sum += dots[plane * params.tokens * params.heads + at];
    }
    return sum;
}
