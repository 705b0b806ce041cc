// Second pass of a transform that exceeds workgroup memory: lines, and the spectra of the halves that they hold. A line
// and its opposite hold opposite frequencies; a workgroup takes the two.

struct Params {
    groups: u32, // sequences x chunks x pairs of lines
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

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lines: array<vec4<f32>>; // (batch, slice, chunks, points / 2), in pairs
@group(0) @binding(2) var<storage, read_write> spectra: array<vec4<f32>>; // (batch, slice, chunks, points / 2), of both halves

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        transform_lines(lane, group);
    }
}

fn transform_lines(lane: u32, group: u32) {
    let line_pair = group % (params.points / TILE);
    let start = (group - line_pair) * TILE;
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        put_pair(2u * pair, lines[(start + number_at(line_pair, 2u * pair)) / 2u]);
    }
    workgroupBarrier();
    transform(lane, TILE / 2u, 1u);
    let scale = 1.0 / f32(params.points); // which the way back leaves out
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        let place = 2u * pair;
        let is_first = line_pair == 0u && pair == 0u;
        let halves = split(is_first, tile[slot(place)], tile[slot(opposite_in(line_pair, place))]);
        spectra[group * (TILE / 2u) + pair] = scale * halves;
    }
}
