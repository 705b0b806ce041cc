// First pass of a transform that exceeds workgroup memory, as a Monarch product: its numbers are a matrix of lines of
// TILE / 2, whose columns are transformed here, and its lines in the second pass. Line and place in the line are the
// upper and lower bits of a number's place, and the same of its frequency's in bit-reversed order. A workgroup takes some
// columns of a chunk of a sequence.

struct Params {
    groups: u32, // sequences x chunks x blocks of columns
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
const WINDOWS: bool = true; // a chunk stands behind the one before it; without, it is padded with zeros behind it
const HAS_SKIP: bool = true; // without, `skip` is not read

const WIDTH: u32 = TILE / 2u; // of a line

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> skip: array<f32>; // (channels), a sample at lag 0 beside the first
@group(0) @binding(2) var<storage, read_write> lines: array<vec4<f32>>; // (batch, slice, chunks, points / 2), in pairs

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        transform_columns(lane, group);
    }
}

fn transform_columns(lane: u32, group: u32) {
    let height = params.points / WIDTH;
    let columns = TILE / height; // of the workgroup
    let blocks = WIDTH / columns;
    let first = group % blocks * columns;
    let chunk = params.first_chunk + group / blocks % params.chunks;
    let sequence = group / blocks / params.chunks;
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        let place = 2u * pair / columns * WIDTH + first + 2u * pair % columns;
        put_pair(2u * pair, load(sequence, chunk, 2u * place));
    }
    workgroupBarrier();
    transform(lane, height, columns);
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        let line = 2u * pair / columns;
        let column = first + 2u * pair % columns;
        let j = reversed_bits(line, height) * column;
        let numbers = pair_at(2u * pair);
        let turned = vec4<f32>(
            times(numbers.xy, turn(j, params.points)),
            times(numbers.zw, turn(j + reversed_bits(line, height), params.points)),
        );
        lines[(group / blocks * params.points + line * WIDTH + column) / 2u] = turned;
    }
}

// Samples of a chunk's transform, from the m-th.
fn load(sequence: u32, chunk: u32, m: u32) -> vec4<f32> {
    if (!WINDOWS && m >= params.points) {
        return vec4<f32>();
    }
    let channel = sequence % params.slice;
    // Before the first chunk it wraps around, and is past the sequence's end.
    let t = chunk * params.points + m - select(0u, params.points, WINDOWS);
    var four = read4(row_of(sequence / params.slice, channel), t);
    if (HAS_SKIP && t == 0u) {
        four.x += skip[params.first_channel + channel];
    }
    return four;
}
