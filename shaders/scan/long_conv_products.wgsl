// Between the passes of a long convolution: transforms lines, multiplies with spectra, and transforms back. What chunks
// of the kernel do to chunks of the sequence is summed in order, over the chunks up to this one and over `share`
// sequences, before the way back. Of a sequence with many chunks some are worked on at once, with some of its own and some
// of the kernel's.

struct Params {
    groups: u32, // outputs x chunks x pairs of lines
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
const TILE: u32 = 2048; // complex numbers in workgroup memory: two lines
const SUMMED: bool = false; // each sequence has spectra of its own, and `share` products are summed

const ITEMS: u32 = TILE / 2u / LANES; // pairs of a lane

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lines: array<vec4<f32>>; // (batch, slice, chunks, points / 2), in pairs
@group(0) @binding(2) var<storage, read> spectra: array<vec4<f32>>; // (slice, chunks, points / 2) or (batch, slice, …)
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>; // (outputs, chunks, points / 2), in pairs

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        multiply_lines(lane, group);
    }
}

fn multiply_lines(lane: u32, group: u32) {
    let line_pairs = params.points / TILE;
    let line_pair = group % line_pairs;
    let place = group / line_pairs % params.chunks;
    // How many chunks before this one those are that are there, of those lags that are there.
    let chunk = i32(params.first_chunk + place);
    let earliest = i32(params.source_chunk);
    let lag = i32(params.lag_chunk);
    let least = max(lag, chunk - (earliest + i32(params.chunks) - 1));
    let most = min(lag + i32(params.chunks) - 1, chunk - earliest);
    let output = group / line_pairs / params.chunks;
    let first = output / params.slice * params.share;
    let channel = output % params.slice;
    var products: array<vec4<f32>, ITEMS>;
    for (var batch = first; batch < min(first + params.share, params.batch); batch++) {
        let own = batch * params.slice + channel;
        let spectrum = select(channel, own, SUMMED);
        for (var before = least; before <= most; before++) {
            load_lines(lane, line_pair, own * params.chunks + u32(chunk - before - earliest));
            workgroupBarrier();
            transform(lane, TILE / 2u, 1u);
            let spectra_chunk = spectrum * params.chunks + u32(before - lag);
            let of_chunk = (spectra_chunk * line_pairs + line_pair) * (TILE / 2u);
            for (var n = 0u; n < ITEMS; n++) {
                let pair = lane + n * LANES;
                products[n] += multiplied(line_pair, pair, spectra[of_chunk + pair]);
            }
            // The next lines overwrite the tile.
            workgroupBarrier();
        }
    }
    for (var n = 0u; n < ITEMS; n++) {
        let place = 2u * (lane + n * LANES);
        let both = join(line_pair == 0u && place == 0u, products[n]);
        tile[slot(place)] = both.xy;
        tile[slot(opposite_in(line_pair, place))] = both.zw;
    }
    workgroupBarrier();
    transform_back(lane, TILE / 2u, 1u);
    let start = (group - line_pair) * TILE;
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        let at = (start + number_at(line_pair, 2u * pair)) / 2u;
        sums[at] = pair_at(2u * pair) + select(vec4<f32>(), sums[at], params.add != 0u);
    }
}

fn load_lines(lane: u32, line_pair: u32, chunk: u32) {
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        let number = chunk * params.points + number_at(line_pair, 2u * pair);
        put_pair(2u * pair, lines[number / 2u]);
    }
}

fn multiplied(line_pair: u32, pair: u32, spectrum: vec4<f32>) -> vec4<f32> {
    let place = 2u * pair;
    let is_first = line_pair == 0u && pair == 0u;
    let halves = split(is_first, tile[slot(place)], tile[slot(opposite_in(line_pair, place))]);
    let frequency = reversed_bits(number_at(line_pair, place), params.points);
    return convolved(is_first, halves, spectrum, turn(frequency, params.points));
}
