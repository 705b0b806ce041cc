// What the kernels of a selective scan have in common: who a lane is, and what it reads.
//
// A lane takes four states of one channel, and STATE_LANES neighbouring lanes the channel; so the coefficients that all
// channels of a workgroup share come from the cache. The kernel declares LANES, STATE_LANES, B_VARIES, C_VARIES,
// DELTA_SOFTPLUS, the tensors u, delta, b and c, and `held`: A, then B and C where they do not vary from step to step,
// D and the bias, and from `first_border` on the states with which chunks begin. A dispatch takes a slice: some batches,
// of these some groups of channels, of a single group perhaps some tiles, and of their rows some chunks. What lies in
// `held` from `first_border` on, and between kernels, is that of the slice.

const_assert LANES % STATE_LANES == 0u;

const CHANNELS: u32 = LANES / STATE_LANES;

struct Place {
    chunk: u32,         // of the slice's
    part: u32,          // the same, among those of all the slice's batches
    group: u32,         // of channels, among all batches'
    slice_group: u32,   // among the slice's
    tile: u32,          // of channels, among the slice's of the group
    channel: u32,
    slice_channel: u32, // among the slice's
    row: u32,           // batch x channel
    slice_row: u32,     // among the slice's
    state: u32,         // the lane's first
    share: u32,         // which of the channel's lanes it is
    inside: bool,       // a lane past the group's channels has nothing to do
}

// The chunk of a workgroup, of the slice's. Browsers' compilers take a Place for different in each lane, whole as it is: loops
// that all lanes leave together are bounded by this.
fn chunk_of(index: u32) -> u32 {
    return index / params.tiles / params.slice_groups % params.chunks;
}

fn locate(lane: u32, index: u32) -> Place {
    var place: Place;
    place.tile = index % params.tiles;
    let slice_group = index / params.tiles % params.slice_groups;
    let group = params.first_group + slice_group;
    place.part = index / params.tiles / params.slice_groups;
    place.chunk = chunk_of(index);
    let slice_batch = place.part / params.chunks;
    let batch = params.first_batch + slice_batch;
    place.group = batch * params.channel_groups + group;
    place.slice_group = slice_batch * params.slice_groups + slice_group;
    let among = params.channels / params.channel_groups;
    let channel = (params.first_tile + place.tile) * CHANNELS + lane / STATE_LANES;
    place.inside = channel < among;
    place.channel = group * among + min(channel, among - 1u);
    place.slice_channel = place.channel - params.first_channel;
    place.row = batch * params.channels + place.channel;
    place.slice_row = slice_batch * params.slice_channels + place.slice_channel;
    place.share = lane % STATE_LANES;
    place.state = place.share * 4u;
    return place;
}

// The slice's first step, and how many there are of a row.
fn slice_start() -> u32 {
    return params.first_chunk * params.chunk;
}

fn slice_steps() -> u32 {
    return min(params.chunks * params.chunk, params.length - slice_start());
}

fn chunk_start(chunk: u32) -> u32 {
    return slice_start() + chunk * params.chunk;
}

// Where a lane stops reading its row: nowhere before the chunk's end, or at once.
fn row_end(place: Place, end: u32) -> u32 {
    return select(0u, place.row * params.length + end, place.inside);
}

fn load_u(place: Place, t: u32, end: u32) -> vec4<f32> {
    return u_load4(place.row * params.length + t, row_end(place, end));
}

// Before the softplus.
fn load_raw_delta(place: Place, t: u32, end: u32) -> vec4<f32> {
    let offset = held[params.first_skip + params.channels + place.channel];
    return delta_load4(place.row * params.length + t, row_end(place, end)) + vec4<f32>(offset);
}

// A step past the end takes no time: states stay as they are.
fn step_sizes(raw: vec4<f32>, place: Place, t: u32, end: u32) -> vec4<f32> {
    var sizes = raw;
    if (DELTA_SOFTPLUS) {
        sizes = softplus(raw);
    }
    let steps = vec4<u32>(t, t + 1u, t + 2u, t + 3u);
    return select(vec4<f32>(), sizes, steps < vec4<u32>(select(0u, end, place.inside)));
}

// The lane's states of a list in `held` that begins at `first`, where those of a channel lie `stride` apart.
fn held_states(place: Place, first: u32, stride: u32) -> States {
    var parts: array<vec4<f32>, 2>;
    for (var n = 0u; n < 4u; n++) {
        if (place.inside && place.state + n < params.states) {
            for (var part = 0u; part < PARTS; part++) {
                parts[part][n] = held[first + n * stride * PARTS + part];
            }
        }
    }
    return states_from(parts);
}

// A list of one value for each state of each channel.
fn channel_states(place: Place, list: u32) -> States {
    let states = params.channels * params.states;
    return held_states(place, (list * states + place.channel * params.states + place.state) * PARTS, 1u);
}

fn border_states(place: Place, first: u32, chunk: u32) -> States {
    let row = place.slice_row * params.states + place.state;
    return held_states(place, first + (row * params.chunks + chunk) * PARTS, params.chunks);
}

// Where one of the lane's states begins among coefficients that vary, and where it ends; at once if there is none.
fn coefficient_line(place: Place, n: u32, t: u32, end: u32) -> vec2<u32> {
    let line = (place.group * params.states + place.state + n) * params.length;
    let inside = place.inside && place.state + n < params.states;
    return vec2<u32>(line + t, select(0u, line + end, inside)) * PARTS;
}

fn load_b(place: Place, t: u32, end: u32) -> array<States, 4> {
    if (B_VARIES) {
        var lines: array<Line, 4>;
        for (var n = 0u; n < 4u; n++) {
            let line = coefficient_line(place, n, t, end);
            // Real states are four numbers, and the other four are not read.
            lines[n] = line_from(b_load4(line.x, line.y), b_load4(line.x + 4u, select(0u, line.y, PARTS > 1u)));
        }
        return states_across(lines);
    }
    let same = channel_states(place, 1u);
    return array<States, 4>(same, same, same, same);
}

fn load_c(place: Place, t: u32, end: u32) -> array<States, 4> {
    if (C_VARIES) {
        var lines: array<Line, 4>;
        for (var n = 0u; n < 4u; n++) {
            let line = coefficient_line(place, n, t, end);
            lines[n] = line_from(c_load4(line.x, line.y), c_load4(line.x + 4u, select(0u, line.y, PARTS > 1u)));
        }
        return states_across(lines);
    }
    let same = channel_states(place, select(2u, 1u, B_VARIES));
    return array<States, 4>(same, same, same, same);
}
