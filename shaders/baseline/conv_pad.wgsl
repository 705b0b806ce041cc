// Gates sequences and pads them with as many zeros, as complex numbers of two samples each, for a transform in passes.

struct Params {
    groups: u32, // LANES numbers each
    total: u32, // numbers of all rows
    length: u32, // samples of a row
    points: u32, // numbers of a row
}

const LANES: u32 = 256;
const HAS_GATE: bool = true; // without, `gate` is not read
const REVERSED: bool = false; // the last sample comes first

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> gate: array<gate_word>; // (rows, length)
@group(0) @binding(3) var<storage, read_write> numbers: array<vec2<f32>>; // (rows, points)

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
    let t = i % params.points * 2u;
    numbers[i] = vec2<f32>(sample(i / params.points, t), sample(i / params.points, t + 1u));
}

fn sample(row: u32, t: u32) -> f32 {
    if (t >= params.length) {
        return 0.0;
    }
    let i = row * params.length + select(t, params.length - 1u - t, REVERSED);
    var value = x_load(i);
    if (HAS_GATE) {
        value *= gate_load(i);
    }
    return value;
}
