// The gradients of a causal depthwise convolution where channels lie innermost, of a part of them. A lane takes four
// neighbouring channels through a chunk of steps, and a few more, from whose sums the chunk's inputs gain; what it adds to
// the gradients of the parameters goes to `partials`, to be summed in a fixed order.

struct Params {
    groups: u32, // batches x chunks x fours of channels, by LANES
    batches: u32,
    channels: u32,
    first: u32,  // of the part
    part: u32,   // channels of the part
    length: u32,
    chunk: u32,  // steps in a chunk
    chunks: u32,
    first_bias: u32,  // where the parts of dbias begin in `partials`
    first_state: u32, // where the gradient of the initial state begins
}

const LANES: u32 = 64;
const WIDTH: u32 = 4; // taps
const SILU: bool = true;
const HAS_BIAS: bool = true; // without, `bias` is not read
const HAS_INITIAL: bool = true; // without, rows begin after zeros and `initial` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batches, length, channels)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (channels, WIDTH)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> initial: array<f32>; // (states, channels, WIDTH - 1)
@group(0) @binding(5) var<storage, read> dy: array<dy_word>; // (batches, length, part)
@group(0) @binding(6) var<storage, read_write> dx: array<dx_word>; // (batches, length, channels)
@group(0) @binding(7) var<storage, read_write> partials: array<f32>; // (batches, chunks, channels, WIDTH), and more

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    let fours = (params.part + 3u) / 4u;
    let share = item / fours;
    if (share < params.batches * params.chunks) {
        convolve_chunk(share / params.chunks, share % params.chunks, item % fours * 4u);
    }
}

fn convolve_chunk(batch: u32, chunk: u32, column: u32) {
    let channel = params.first + column;
    let taps = load_taps(channel);
    let offsets = load_offsets(channel);
    let start = i32(chunk * params.chunk);
    let end = min(start + i32(params.chunk), i32(params.length));
    var inputs = inputs_before(batch, start, channel);
    var dtaps: Taps;
    var doffsets: vec4<f32>;
    var dsums: Taps; // of a step and of those before it
    for (var t = start; t < end + i32(WIDTH) - 1; t++) {
        inputs = advance(inputs, load_inputs(batch, t, channel));
        let line = (batch * params.length + u32(t)) * params.part;
        let within = u32(t) < params.length;
        var dsum = dy_load4(line + column, select(0u, line + params.part, within));
        if (SILU) {
            dsum *= silu_slope(convolve(batch, t, channel, taps, offsets, inputs));
        }
        dsums = advance(dsums, dsum);
        if (t < end) {
            doffsets += dsum;
            for (var k = 0u; k < WIDTH; k++) {
                dtaps[k] = fma(dsum, input_of(batch, t, k, channel, inputs), dtaps[k]);
            }
        }
        // The input that this was the last sum to take in.
        let taken = t - i32(WIDTH) + 1;
        if (taken >= start) {
            let into = (batch * params.length + u32(taken)) * params.channels;
            dx_store4(into + channel, into + params.first + params.part, gather(batch, taken, 0u, taps, dsums));
        }
        if (HAS_INITIAL && (taken >= start || taken < 0)) {
            store_dinitial(batch, taken, channel, taps, dsums);
        }
    }
    store_parts(batch * params.chunks + chunk, channel, dtaps, doffsets);
}

// The gradient of a step's inputs, from its sums and those of the steps after it, as many steps later or more.
fn gather(batch: u32, t: i32, later: u32, taps: Taps, dsums: Taps) -> vec4<f32> {
    var sum: vec4<f32>;
    for (var lag = later; lag < WIDTH; lag++) {
        if (same_sequence(batch, t + i32(lag), lag - later)) {
            sum = fma(taps[WIDTH - 1u - lag], dsums[lag], sum);
        }
    }
    return sum;
}

// A sequence that begins up to WIDTH - 1 steps later has an input of its state in this one's place.
fn store_dinitial(batch: u32, t: i32, channel: u32, taps: Taps, dsums: Taps) {
    for (var lag = 1u; lag < WIDTH; lag++) {
        let first = t + i32(lag);
        if (first >= 0 && first < i32(params.length) && begins(batch, first)) {
            let gradient = gather(batch, t, lag, taps, dsums);
            for (var n = 0u; n < channels_from(channel); n++) {
                let row = state_row(batch, first) * params.channels + channel + n;
                partials[params.first_state + (row + 1u) * (WIDTH - 1u) - lag] = gradient[n];
            }
        }
    }
}

fn store_parts(part: u32, channel: u32, dtaps: Taps, doffsets: vec4<f32>) {
    for (var n = 0u; n < channels_from(channel); n++) {
        let at = part * params.channels + channel + n;
        for (var k = 0u; k < WIDTH; k++) {
            partials[at * WIDTH + k] = dtaps[k][n];
        }
        partials[params.first_bias + at] = doffsets[n];
    }
}
