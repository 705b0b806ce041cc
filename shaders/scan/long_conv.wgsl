// The long convolution of sequences whose transform fits in workgroup memory. A workgroup takes a tile of sequences and
// transforms them, multiplies with spectra and transforms back; `share` such products are summed in order before.
// Sequences stand behind as many zeros, so that the second half of what comes back is the convolution.

struct Params {
    groups: u32, // tiles of TILE / points sequences
    length: u32, // samples of a sequence
    channels: u32, // of the tensors
    first_channel: u32, // of the slice that is worked on
    slice: u32, // channels of the slice
    first_batch: u32, // of the slice
    batch: u32, // sequences of a channel in the slice
    share: u32, // sequences of a channel that are convolved and summed
    points: u32, // complex numbers of a transform, half its samples
    chunks: u32, // that are worked on, of `points` samples each
    first_chunk: u32, // of a sequence, that are read or written
    source_chunk: u32, // with whose transforms these are summed, from this one on
    lag_chunk: u32, // and of the kernels, from this one on
    add: u32, // whether sums are added to those before
    read_from: u32, // the element with which what is bound to be read begins
    write_from: u32, // and to be written
    first_row: u32, // of what is written
    row_batch: u32, // rows of a batch there
}

const LANES: u32 = 256;
const TILE: u32 = 2048; // complex numbers in workgroup memory
const SUMMED: bool = false; // each sequence has spectra of its own, and `share` products are summed

const ITEMS: u32 = TILE / 2u / LANES; // pairs of a lane

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> spectra: array<vec4<f32>>; // (slice, points / 2) or (batch, slice, points / 2)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        convolve_sequences(lane, group);
    }
}

fn convolve_sequences(lane: u32, group: u32) {
    let pairs = params.points / 2u; // of a sequence
    let first = group * (TILE / params.points);
    var sums: array<vec4<f32>, ITEMS>;
    for (var term = 0u; term < params.share; term++) {
        for (var pair = lane; pair < TILE / 2u; pair += LANES) {
            // Wraps around for the zeros before the sequence, and is past its end.
            let t = pair % pairs * 4u - params.points;
            put_pair(2u * pair, load(first + pair / pairs, term, t));
        }
        workgroupBarrier();
        transform(lane, params.points, 1u);
        for (var n = 0u; n < ITEMS; n++) {
            let pair = lane + n * LANES;
            let place = pair % pairs * 2u;
            let start = 2u * pair - place;
            let halves = split(place == 0u, tile[slot(start + place)], tile[slot(start + opposite(place))]);
            let late = turn(reversed_bits(place, params.points), params.points);
            let spectrum = spectrum_at(first + pair / pairs, term, pair % pairs);
            sums[n] += convolved(place == 0u, halves, spectrum, late);
        }
        // The next sequence overwrites the tile.
        workgroupBarrier();
    }
    for (var n = 0u; n < ITEMS; n++) {
        let pair = lane + n * LANES;
        let place = pair % pairs * 2u;
        let start = 2u * pair - place;
        let both = join(place == 0u, sums[n]);
        tile[slot(start + place)] = both.xy;
        tile[slot(start + opposite(place))] = both.zw;
    }
    workgroupBarrier();
    transform_back(lane, params.points, 1u);
    for (var quad = lane; quad < TILE / 4u; quad += LANES) {
        let sequence = first + quad / (pairs / 2u);
        let t = quad % (pairs / 2u) * 4u;
        if (sequence < outputs()) {
            let row = output_row(sequence);
            write4(row, t, pair_at(quad / (pairs / 2u) * params.points + pairs + t / 2u));
        }
    }
}

fn outputs() -> u32 {
    return (params.batch + params.share - 1u) / params.share * params.slice;
}

fn output_row(sequence: u32) -> u32 {
    return params.first_row + sequence / params.slice * params.row_batch + sequence % params.slice;
}

fn batch_of(sequence: u32, term: u32) -> u32 {
    return sequence / params.slice * params.share + term;
}

fn load(sequence: u32, term: u32, t: u32) -> vec4<f32> {
    let batch = batch_of(sequence, term);
    if (batch >= params.batch) {
        return vec4<f32>();
    }
    return read4(row_of(batch, sequence % params.slice), t);
}

fn spectrum_at(sequence: u32, term: u32, pair: u32) -> vec4<f32> {
    let batch = batch_of(sequence, term);
    if (batch >= params.batch) {
        return vec4<f32>();
    }
    let channel = sequence % params.slice + select(0u, batch * params.slice, SUMMED);
    return spectra[channel * (params.points / 2u) + pair];
}
