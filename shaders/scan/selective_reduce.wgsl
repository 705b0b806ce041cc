// First of the three phases of a long selective scan: what each chunk does to a state, as an affine map; and for the
// backward pass what it does to the gradient of a state that comes from the other end. Both multiply by the same.

struct Params {
    groups: u32,         // batches x chunks x groups of channels x tiles, all of the slice
    channels: u32,
    length: u32,         // steps in a row
    states: u32,         // of a channel
    channel_groups: u32, // groups of channels that share b and c
    tiles: u32,          // the slice's of a group's channels
    chunk: u32,          // steps in a chunk, a multiple of four
    chunks: u32,         // the slice's chunks in a row
    slice_groups: u32,   // groups of channels in the slice
    slice_channels: u32, // channels in the slice
    first_batch: u32,    // where the slice begins along each axis
    first_group: u32,
    first_tile: u32,
    first_channel: u32,
    first_chunk: u32,
    first_skip: u32,     // where in `held` D begins, and the bias behind it
    first_border: u32,   // where in `held` the states begin with which chunks do
}

const LANES: u32 = 64;
const STATE_LANES: u32 = 4; // lanes of a channel
const B_VARIES: bool = true; // without, b is in `held`
const C_VARIES: bool = true;
const DELTA_SOFTPLUS: bool = true;
const BACKWARD: bool = true; // without, c is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> held: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<u_word>; // (batch, channels, length)
@group(0) @binding(3) var<storage, read> delta: array<delta_word>; // (batch, channels, length)
@group(0) @binding(4) var<storage, read> b: array<b_word>; // (batch, groups of channels, states, length)
@group(0) @binding(5) var<storage, read> c: array<c_word>; // (batch, groups of channels, states, length)
@group(0) @binding(6) var<storage, read_write> maps: array<f32>; // (batch, channels, states, chunks) factor and term

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        reduce_chunk(locate(lane, group));
    }
}

fn reduce_chunk(place: Place) {
    let a = channel_states(place, 0u);
    let first = chunk_start(place.chunk);
    let end = min(first + params.chunk, params.length);
    var factor = ONES;
    var term = States();
    var back = States();
    for (var t = first; t < end; t += 4u) {
        let delta4 = step_sizes(load_raw_delta(place, t, end), place, t, end);
        let u4 = load_u(place, t, end);
        let b4 = load_b(place, t, end);
        var slopes: array<States, 4>;
        if (BACKWARD) {
            let c4 = load_c(place, t, end);
            let gradient4 = load_gradient(place, t, end);
            for (var n = 0u; n < 4u; n++) {
                slopes[n] = read_out_slope(c4[n]) * gradient4[n];
            }
        }
        for (var n = 0u; n < 4u; n++) {
            let step = decay(a, delta4[n]);
            term = times(step, term) + b4[n] * (delta4[n] * u4[n]);
            factor = times(factor, step);
            if (BACKWARD) {
                back = back + times_conjugate(slopes[n], factor);
            }
        }
    }
    for (var n = 0u; n < 4u; n++) {
        if (place.inside && place.state + n < params.states) {
            store_maps(place, n, factor, term, back);
        }
    }
}

fn store_maps(place: Place, n: u32, factor: States, term: States, back: States) {
    let row = (place.slice_row * params.states + place.state + n) * params.chunks;
    for (var part = 0u; part < PARTS; part++) {
        let i = (row + place.chunk) * 2u * PARTS + part;
        maps[i] = part_of(factor, part)[n];
        maps[i + PARTS] = part_of(term, part)[n];
        if (BACKWARD) {
            let i = (row + params.chunks - 1u - place.chunk) * 2u * PARTS + part;
            store_back(i, part_of(times_conjugate(ONES, factor), part)[n]);
            store_back(i + PARTS, part_of(back, part)[n]);
        }
    }
}
