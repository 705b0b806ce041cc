// What the transforms give, without the padding: scaled, with D times the gated sequence, and gated.

struct Params {
    groups: u32, // LANES samples each
    total: u32, // samples of all rows
    length: u32, // samples of a row
    channels: u32,
    points: u32, // numbers of a row
}

const LANES: u32 = 256;
const HAS_SKIP: bool = true; // without, `skip`, `x` and `pre` are not read
const HAS_PRE: bool = true; // without, `pre` is not read
const HAS_POST: bool = true; // without, `post` is not read
const REVERSED: bool = false; // `numbers` have the last sample first

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> numbers: array<vec2<f32>>; // (rows, points)
@group(0) @binding(2) var<storage, read> skip: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(4) var<storage, read> pre: array<pre_word>; // (rows, length)
@group(0) @binding(5) var<storage, read> post: array<post_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> y: array<y_word>; // (rows, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i >= params.total) {
        return;
    }
    let row = i / params.length;
    let t = select(i % params.length, params.length - 1u - i % params.length, REVERSED);
    var value = numbers[row * params.points + t / 2u][t % 2u] / f32(params.points);
    if (HAS_SKIP) {
        var gated = x_load(i);
        if (HAS_PRE) {
            gated *= pre_load(i);
        }
        value += skip[row % params.channels] * gated;
    }
    if (HAS_POST) {
        value *= post_load(i);
    }
    y_store(i, value);
}
