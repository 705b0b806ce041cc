// A selective scan, given the states with which each chunk begins. It is the last of the three phases of a long scan,
// and the whole of a scan whose rows are one chunk each. A workgroup takes one chunk of some channels, four steps at a
// time.

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
const REDUCE_LANES: u32 = 4; // the same
const B_VARIES: bool = true; // without, b is in `held`
const C_VARIES: bool = true;
const DELTA_SOFTPLUS: bool = true;
const GATED: bool = true; // without, `z` is not read
const HAS_BORDER: bool = true; // without, chunks begin with 0

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> held: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<u_word>; // (batch, channels, length)
@group(0) @binding(3) var<storage, read> delta: array<delta_word>; // (batch, channels, length)
@group(0) @binding(4) var<storage, read> b: array<b_word>; // (batch, groups of channels, states, length)
@group(0) @binding(5) var<storage, read> c: array<c_word>; // (batch, groups of channels, states, length)
@group(0) @binding(6) var<storage, read> z: array<z_word>; // (batch, channels, length)
@group(0) @binding(7) var<storage, read_write> out: array<out_word>; // (batch, channels, length)
@group(0) @binding(8) var<storage, read_write> last: array<f32>; // (batch, channels, states), after the last step

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        scan_chunk(lane, locate(rank(lane), group), chunk_of(group));
    }
}

fn scan_chunk(lane: Lane, place: Place, chunk: u32) {
    let a = channel_states(place, 0u);
    let skip = vec4<f32>(held[params.first_skip + place.channel]);
    let first = chunk_start(chunk);
    let end = min(first + params.chunk, params.length);
    var h = States();
    if (HAS_BORDER) {
        h = border_states(place, params.first_border, chunk);
    }
    for (var t = first; t < end; t += 4u) {
        let delta4 = step_sizes(load_raw_delta(place, t, end), place, t, end);
        let u4 = load_u(place, t, end);
        let b4 = load_b(place, t, end);
        let c4 = load_c(place, t, end);
        var y4: vec4<f32>;
        for (var n = 0u; n < 4u; n++) {
            h = times(decay(a, delta4[n]), h) + b4[n] * (delta4[n] * u4[n]);
            y4[n] = read_out(c4[n], h);
        }
        y4 = fma(skip, u4, reduce_add(lane, y4));
        if (place.share == 0u) {
            store_outputs(place, t, end, y4);
        }
    }
    if (chunk == params.chunks - 1u) {
        store_last(place, h);
    }
}

fn store_outputs(place: Place, t: u32, end: u32, y4: vec4<f32>) {
    let i = place.row * params.length + t;
    var outputs = y4;
    if (GATED) {
        outputs *= silu(z_load4(i, row_end(place, end)));
    }
    out_store4(i, row_end(place, end), outputs);
}

fn store_last(place: Place, h: States) {
    for (var n = 0u; n < 4u; n++) {
        if (place.inside && place.state + n < params.states) {
            for (var part = 0u; part < PARTS; part++) {
                last[(place.row * params.states + place.state + n) * PARTS + part] = part_of(h, part)[n];
            }
        }
    }
}
