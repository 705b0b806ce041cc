// A chunk of a head, as scan/chunk_steps records it: consecutive steps of one sequence, each with the logarithm of its
// decay and the weight of what it adds. The kernel declares CHUNK, a multiple of 4, and every binding but this.
//
// Decays over several steps are exponentials of sums of logarithms over just those steps. Differences of sums from the
// chunk's beginning would be shorter, and lose what strong decays leave of a number's digits.

// (chunks, heads): where the chunk lies, then logarithms, then weights, by fours, as bits. Past the chunk's last step
// they are 0.
@group(0) @binding(0) var<storage, read> records: array<vec4<u32>>;

const CHUNK_FOURS = CHUNK / 4u;
const RECORD = 1u + 2u * CHUNK_FOURS;

var<workgroup> logs: array<vec4<f32>, CHUNK_FOURS>;
var<workgroup> weights: array<vec4<f32>, CHUNK_FOURS>;

struct Span {
    first: u32, // the first step, counted through all batches
    steps: u32,
}

// Where a chunk lies, which is the same for all heads.
fn span_of(record: u32) -> Span {
    let header = records[record * RECORD];
    return Span(header.x, header.y);
}

// The caller places a barrier behind, and one before where lanes may still read the last head's.
fn stage_steps(lane: u32, lanes: u32, record: u32) {
    for (var four = lane; four < CHUNK_FOURS; four += lanes) {
        let at = record * RECORD + 1u + four;
        logs[four] = bitcast<vec4<f32>>(records[at]);
        weights[four] = bitcast<vec4<f32>>(records[at + CHUNK_FOURS]);
    }
}

fn total(four: vec4<f32>) -> f32 {
    return (four.x + four.y) + (four.z + four.w);
}

// Sums from a four's first step to each step, that one with it.
fn upto(four: vec4<f32>) -> vec4<f32> {
    let two = four.x + four.y;
    return vec4<f32>(four.x, two, two + four.z, two + (four.z + four.w));
}

// Sums from after each step to a four's last.
fn after(four: vec4<f32>) -> vec4<f32> {
    let two = four.z + four.w;
    return vec4<f32>(four.y + two, two, four.w, 0.0);
}

// The sum over whole fours.
fn between(first: u32, end: u32) -> f32 {
    var sum = 0.0;
    for (var four = first; four < end; four++) {
        sum += total(logs[four]);
    }
    return sum;
}

// Decays from the chunk's beginning to after each of four steps.
fn decays_in(four: u32) -> vec4<f32> {
    return exp(upto(logs[four]) + between(0u, four));
}

// Decays from after each of four steps to the chunk's end.
fn decays_out(four: u32) -> vec4<f32> {
    return exp(after(logs[four]) + between(four + 1u, CHUNK_FOURS));
}

// Decays from after each of the four early steps (across) to after each of the late ones (down); 0 where the late step
// comes before the early one.
fn decays(late: u32, early: u32) -> mat4x4<f32> {
    if (late < early) {
        return mat4x4<f32>();
    }
    let four = logs[late];
    if (late == early) {
        let two = four.z + four.w;
        return mat4x4<f32>(
            vec4<f32>(1.0, 0.0, 0.0, 0.0),
            vec4<f32>(exp(four.y), 1.0, 0.0, 0.0),
            vec4<f32>(exp(four.y + four.z), exp(four.z), 1.0, 0.0),
            vec4<f32>(exp(four.y + two), exp(two), exp(four.w), 1.0),
        );
    }
    let down = upto(four);
    let across = after(logs[early]) + between(early + 1u, late);
    return mat4x4<f32>(
        exp(down.x + across),
        exp(down.y + across),
        exp(down.z + across),
        exp(down.w + across),
    );
}
