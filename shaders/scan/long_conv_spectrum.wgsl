// The spectra of sequences whose transform fits in workgroup memory: what a long convolution multiplies with. Sequences
// are padded with as many zeros, so that nothing wraps around.

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
const HAS_SKIP: bool = true; // without, `skip` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> skip: array<f32>; // (channels), a sample at lag 0 beside the first
@group(0) @binding(2) var<storage, read_write> spectra: array<vec4<f32>>; // (batch, slice, points / 2), of both halves

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        transform_sequences(lane, group);
    }
}

fn transform_sequences(lane: u32, group: u32) {
    let pairs = params.points / 2u; // of a sequence
    let first = group * (TILE / params.points);
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        put_pair(2u * pair, load(first + pair / pairs, pair % pairs * 4u));
    }
    workgroupBarrier();
    transform(lane, params.points, 1u);
    let scale = 1.0 / f32(params.points); // which the way back leaves out
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        let place = pair % pairs * 2u;
        let start = 2u * pair - place;
        if (first + pair / pairs < params.batch * params.slice) {
            let halves = split(place == 0u, tile[slot(start + place)], tile[slot(start + opposite(place))]);
            spectra[first * pairs + pair] = scale * halves;
        }
    }
}

fn load(sequence: u32, t: u32) -> vec4<f32> {
    if (sequence >= params.batch * params.slice || t >= params.points) {
        return vec4<f32>();
    }
    let channel = sequence % params.slice;
    var four = read4(row_of(sequence / params.slice, channel), t);
    if (HAS_SKIP && t == 0u) {
        four.x += skip[params.first_channel + channel];
    }
    return four;
}
