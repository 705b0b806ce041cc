// Last pass of a long convolution: the way back along columns. The second half of what comes is the chunk. A workgroup
// takes some columns of a chunk.

struct Params {
    groups: u32, // outputs x chunks x blocks of columns
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

const WIDTH: u32 = TILE / 2u; // of a line

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sums: array<vec4<f32>>; // (outputs, chunks, points / 2), in pairs

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        transform_back_columns(lane, group);
    }
}

fn transform_back_columns(lane: u32, group: u32) {
    let height = params.points / WIDTH;
    let columns = TILE / height; // of the workgroup
    let blocks = WIDTH / columns;
    let first = group % blocks * columns;
    let chunk = params.first_chunk + group / blocks % params.chunks;
    let output = group / blocks / params.chunks;
    for (var pair = lane; pair < TILE / 2u; pair += LANES) {
        let line = 2u * pair / columns;
        let column = first + 2u * pair % columns;
        let numbers = sums[(group / blocks * params.points + line * WIDTH + column) / 2u];
        let j = reversed_bits(line, height) * column;
        let turned = vec4<f32>(
            times(numbers.xy, conjugate(turn(j, params.points))),
            times(numbers.zw, conjugate(turn(j + reversed_bits(line, height), params.points))),
        );
        put_pair(2u * pair, turned);
    }
    workgroupBarrier();
    transform_back(lane, height, columns);
    let row = params.first_row + output / params.slice * params.row_batch + output % params.slice;
    for (var quad = lane; quad < TILE / 4u; quad += LANES) {
        let i = TILE / 2u + 2u * quad;
        let place = i / columns * WIDTH + first + i % columns;
        write4(row, chunk * params.points + 2u * place - params.points, pair_at(i));
    }
}
