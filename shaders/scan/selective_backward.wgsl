// The gradients of a selective scan, given the states with which each chunk begins and the gradients of those with which
// it ends. A workgroup takes one chunk of some channels: forward once to keep the states before each tile of steps in
// its own memory, then backward, a tile at a time, whose states it computes again. No state reaches device memory.
//
// Sums over steps, channels and batches are left as parts in `held`, to be summed in a fixed order.

struct Params {
    groups: u32,         // batches x chunks x groups of channels x tiles, all of the slice
    channels: u32,
    length: u32,         // steps in a row
    states: u32,         // of a channel
    channel_groups: u32, // groups of channels that share b and c
    tiles: u32,          // the slice's of a group's channels
    chunk: u32,          // steps in a chunk: STEP_TILES tiles
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
    first_back: u32,     // where the gradients begin that come from behind, the last chunk first
    first_da: u32,       // where the parts of each gradient begin
    first_db: u32,
    first_dc: u32,
    first_dskip: u32,
    first_dbias: u32,
}

const LANES: u32 = 64;
const STATE_LANES: u32 = 4; // lanes of a channel
const REDUCE_LANES: u32 = 4; // the same
const STEP_TILES: u32 = 8; // tiles of TILE steps in a chunk
const B_VARIES: bool = true; // without, b is in `held`
const C_VARIES: bool = true;
const DELTA_SOFTPLUS: bool = true;
const GATED: bool = true; // without, nobody asks for the result
const ADD: bool = false; // whether other slices of the group's channels left terms of shared coefficients before

const QUADS: u32 = 2u; // of steps in a tile
const TILE: u32 = 8u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> held: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<u_word>; // (batch, channels, length)
@group(0) @binding(3) var<storage, read> delta: array<delta_word>; // (batch, channels, length)
@group(0) @binding(4) var<storage, read> b: array<b_word>; // (batch, groups of channels, states, length)
@group(0) @binding(5) var<storage, read> c: array<c_word>; // (batch, groups of channels, states, length)
@group(0) @binding(6) var<storage, read_write> du: array<du_word>; // (batch, channels, length)
@group(0) @binding(7) var<storage, read_write> ddelta: array<ddelta_word>; // (batch, channels, length)

// The states before each tile, each lane's own.
var<workgroup> starts: array<States, LANES * STEP_TILES>;

// What the lanes add to the gradient of a shared coefficient at four steps.
var<workgroup> shared_terms: array<array<vec4<f32>, 4>, LANES>;

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        backward_chunk(lane, locate(rank(lane), group));
    }
}

// What a lane carries from tile to tile: the gradient that comes from behind, and its sums over steps.
var<private> back: States;
var<private> da: States;
var<private> db: States;
var<private> dc: States;
var<private> dskip: f32;
var<private> dbias: f32;

fn backward_chunk(lane: Lane, place: Place) {
    let a = channel_states(place, 0u);
    let first = chunk_start(place.chunk);
    let end = min(first + params.chunk, params.length);
    var h = border_states(place, params.first_border, place.chunk);
    for (var tile = 0u; tile < STEP_TILES; tile++) {
        starts[tile * LANES + rank(lane)] = h;
        for (var quad = 0u; quad < QUADS; quad++) {
            h = advance(place, a, first + tile * TILE + quad * 4u, end, h);
        }
    }
    back = border_states(place, params.first_back, params.chunks - 1u - place.chunk);
    for (var tile = STEP_TILES; tile > 0u; tile--) {
        backward_tile(lane, place, a, first + (tile - 1u) * TILE, end, starts[(tile - 1u) * LANES + rank(lane)]);
    }
    store_parts(place);
}

fn advance(place: Place, a: States, t: u32, end: u32, before: States) -> States {
    let delta4 = step_sizes(load_raw_delta(place, t, end), place, t, end);
    let u4 = load_u(place, t, end);
    let b4 = load_b(place, t, end);
    var h = before;
    for (var n = 0u; n < 4u; n++) {
        h = times(decay(a, delta4[n]), h) + b4[n] * (delta4[n] * u4[n]);
    }
    return h;
}

fn backward_tile(lane: Lane, place: Place, a: States, first: u32, end: u32, start: States) {
    // The state before each step, the one after the last behind them, and what each is multiplied by.
    var h: array<States, 9>;
    var decays: array<States, 8>;
    h[0] = start;
    for (var quad = 0u; quad < QUADS; quad++) {
        let t = first + quad * 4u;
        let delta4 = step_sizes(load_raw_delta(place, t, end), place, t, end);
        let u4 = load_u(place, t, end);
        let b4 = load_b(place, t, end);
        for (var n = 0u; n < 4u; n++) {
            let k = quad * 4u + n;
            decays[k] = decay(a, delta4[n]);
            h[k + 1u] = times(decays[k], h[k]) + b4[n] * (delta4[n] * u4[n]);
        }
    }
    for (var left = QUADS; left > 0u; left--) {
        let quad = left - 1u;
        let t = first + quad * 4u;
        let raw4 = load_raw_delta(place, t, end);
        let delta4 = step_sizes(raw4, place, t, end);
        let u4 = load_u(place, t, end);
        let b4 = load_b(place, t, end);
        let c4 = load_c(place, t, end);
        let gradient4 = load_gradient(place, t, end);
        var y4: vec4<f32>;
        var through_b: vec4<f32>;
        var through_a: vec4<f32>;
        var db4: array<States, 4>;
        var dc4: array<States, 4>;
        for (var left_n = 4u; left_n > 0u; left_n--) {
            let n = left_n - 1u;
            let k = quad * 4u + n;
            let dh = read_out_slope(c4[n]) * gradient4[n] + back;
            let kept = times(decays[k], h[k]);
            y4[n] = read_out(c4[n], h[k + 1u]);
            dc4[n] = read_out_slope(h[k + 1u]) * gradient4[n];
            db4[n] = dh * (delta4[n] * u4[n]);
            through_b[n] = inner(b4[n], dh);
            through_a[n] = inner(times(a, kept), dh);
            da = da + times_conjugate(dh, kept) * delta4[n];
            back = times_conjugate(dh, decays[k]);
        }
        let result4 = reduce_result(lane, y4);
        let sum_b = reduce_add(lane, through_b);
        let sum_a = reduce_add(lane, through_a);
        if (place.share == 0u) {
            finish_steps(place, t, end, raw4, delta4, u4, gradient4, sum_b, sum_a, result4);
        }
        if (B_VARIES) {
            collect_terms(lane, place, params.first_db, t, end, db4);
        } else {
            db = db + db4[0] + db4[1] + db4[2] + db4[3];
        }
        if (C_VARIES) {
            collect_terms(lane, place, params.first_dc, t, end, dc4);
        } else {
            dc = dc + dc4[0] + dc4[1] + dc4[2] + dc4[3];
        }
    }
}

fn reduce_result(lane: Lane, y4: vec4<f32>) -> vec4<f32> {
    if (GATED) {
        return reduce_add(lane, y4);
    }
    return y4;
}

// What the channel's first lane does with the sums over its states.
fn finish_steps(
    place: Place,
    t: u32,
    end: u32,
    raw4: vec4<f32>,
    delta4: vec4<f32>,
    u4: vec4<f32>,
    gradient4: vec4<f32>,
    sum_b: vec4<f32>,
    sum_a: vec4<f32>,
    result4: vec4<f32>,
) {
    let skip = vec4<f32>(held[params.first_skip + place.channel]);
    let i = place.row * params.length + t;
    keep_result(place, t, end, fma(skip, u4, result4));
    du_store4(i, row_end(place, end), fma(skip, gradient4, delta4 * sum_b));
    var slopes = fma(u4, sum_b, sum_a);
    if (DELTA_SOFTPLUS) {
        slopes *= select(sigmoid(raw4), vec4<f32>(1.0), raw4 > vec4<f32>(20.0));
    }
    ddelta_store4(i, row_end(place, end), slopes);
    for (var n = 0u; n < 4u; n++) {
        if (t + n < end) {
            dskip += gradient4[n] * u4[n];
            dbias += slopes[n];
        }
    }
}

// Sums what the workgroup's channels add to the gradient of a coefficient that they share, and leaves it for the sum
// over the tiles of the group.
fn collect_terms(lane: Lane, place: Place, first: u32, t: u32, end: u32, terms: array<States, 4>) {
    let line = (place.slice_group * params.tiles + place.tile) * params.states;
    let column = t - slice_start();
    for (var part = 0u; part < PARTS; part++) {
        for (var n = 0u; n < 4u; n++) {
            shared_terms[rank(lane)][n] = select(vec4<f32>(), part_of(terms[n], part), vec4<bool>(place.inside));
        }
        workgroupBarrier();
        for (var i = rank(lane); i < 16u * STATE_LANES; i += LANES) {
            let step = i % 4u;
            let state = i / 4u;
            var sum = 0.0;
            for (var channel = 0u; channel < CHANNELS; channel++) {
                sum += shared_terms[channel * STATE_LANES + state / 4u][step][state % 4u];
            }
            if (state < params.states && t + step < end) {
                let i = first + ((line + state) * slice_steps() + column + step) * PARTS + part;
                if (ADD) {
                    sum += held[i];
                }
                held[i] = sum;
            }
        }
        // The next call overwrites the terms.
        workgroupBarrier();
    }
}

// The chunk's parts of what is summed over all steps and batches.
fn store_parts(place: Place) {
    if (place.inside) {
        store_states(place, params.first_da, da);
        if (!B_VARIES) {
            store_states(place, params.first_db, db);
        }
        if (!C_VARIES) {
            store_states(place, params.first_dc, dc);
        }
        if (place.share == 0u) {
            let i = place.part * params.slice_channels + place.slice_channel;
            held[params.first_dskip + i] = dskip;
            held[params.first_dbias + i] = dbias;
        }
    }
}

fn store_states(place: Place, first: u32, sum: States) {
    let channel = place.part * params.slice_channels + place.slice_channel;
    let row = channel * params.states + place.state;
    for (var n = 0u; n < 4u; n++) {
        if (place.state + n < params.states) {
            for (var number = 0u; number < PARTS; number++) {
                held[first + (row + n) * PARTS + number] = part_of(sum, number)[n];
            }
        }
    }
}
