// The gradients of queries whose keys decay each on its own: from the steps of the chunk before a query, and from the state
// with which the chunk begins, of which `of_state` is what the result's gradient makes. In reverse those of keys: from the
// steps after one, and from the gradient of the state with which the chunk ends. A lane takes four elements of a step.

struct Params {
    groups: u32, // chunks x heads x steps x fours of elements, by LANES
    count: u32,  // chunks x heads x CHUNK x fours of elements
    heads: u32,
    width: u32,  // elements of a query
    tokens: u32,
    scale: f32,  // of what the state gives
}

const CHUNK: u32 = 64; // room for a chunk's steps
const LANES: u32 = 64;
const REVERSE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> own: array<own_word>; // (tokens, heads, width), queries; keys in reverse
@group(0) @binding(2) var<storage, read> other: array<other_word>; // the same, keys; queries in reverse
@group(0) @binding(3) var<storage, read> factors: array<factors_word>; // (tokens, heads, width), decays
@group(0) @binding(4) var<storage, read> dscores: array<f32>; // (chunks, heads, CHUNK, CHUNK)
@group(0) @binding(5) var<storage, read> of_state: array<of_state_word>; // (tokens, heads, width)
@group(0) @binding(6) var<storage, read_write> gradient: array<gradient_word>; // (tokens, heads, width)
// (2, tokens, heads, width): each element times what the state gave to its gradient, then times what other steps did.
@group(0) @binding(7) var<storage, read_write> parts: array<parts_word>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    if (item < params.count) {
        let fours = (params.width + 3u) / 4u;
        let record = item / fours / CHUNK;
        let span = span_of(record);
        let step = item / fours % CHUNK;
        if (step < span.steps) {
            take_four(record, span, step, item % fours * 4u);
        }
    }
}

fn take_four(record: u32, span: Span, step: u32, column: u32) {
    let line = line_of(record, span, step);
    let end = line + params.width;
    let scores = record * CHUNK * CHUNK;
    let weight = dscores[scores + step * CHUNK + step];
    let others = select(step, span.steps - 1u - step, REVERSE);
    var decay = vec4<f32>(1.0);
    var sum: vec4<f32>;
    for (var lag = 1u; lag <= others; lag++) {
        let at = select(step - lag, step + lag, REVERSE);
        let place = scores + select(step * CHUNK + at, at * CHUNK + step, REVERSE);
        let there = line_of(record, span, at);
        // The decays after the earlier of two steps, up to the later.
        let passed = line_of(record, span, select(at + 1u, at, REVERSE));
        decay *= factors_load4(passed + column, passed + params.width);
        sum = fma(dscores[place] * decay, other_load4(there + column, there + params.width), sum);
    }
    if (!REVERSE) {
        let passed = line_of(record, span, 0u);
        decay *= factors_load4(passed + column, passed + params.width);
    }
    let given = params.scale * decay * of_state_load4(line + column, end);
    let element = own_load4(line + column, end);
    gradient_store4(line + column, end, sum + weight * other_load4(line + column, end) + given);
    parts_store4(line + column, end, element * given);
    let second = params.tokens * params.heads * params.width + line;
    parts_store4(second + column, second + params.width, element * sum);
}

fn line_of(record: u32, span: Span, step: u32) -> u32 {
    return ((span.first + step) * params.heads + record % params.heads) * params.width;
}
