// Sums of sequences times the powers of a mode: the gradients of a diagonal state-space model's kernels, by its weights
// and powers, or the states that a sequence leaves behind. A workgroup takes a mode of a sequence, 4 LANES samples at a
// time, a lane four that follow each other.

struct Params {
    groups: u32, // sequences x pairs
    length: u32,
    channels: u32,
    pairs: u32, // modes of a channel
    bits: u32, // of the largest exponent
}

const LANES: u32 = 256;
const TILE_BITS: u32 = 10; // 4 LANES samples
const STATES: bool = false; // the last sample has power 0, and the sum is all; else the sum times the exponent is too
const HAS_PRE: bool = true; // without, `pre` is not read

const_assert 4u * LANES == 1u << TILE_BITS;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (sequences, length)
@group(0) @binding(2) var<storage, read> pre: array<pre_word>; // (sequences, length)
@group(0) @binding(3) var<storage, read_write> sums: array<vec2<f32>>; // (sequences, pairs), or (…, 2)

var<workgroup> of_lanes: array<vec4<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        sum_mode(lane, group);
    }
}

fn sum_mode(lane: u32, group: u32) {
    let sequence = group / params.pairs;
    let mode = sequence % params.channels * params.pairs + group % params.pairs;
    let one = power(mode, 1u, 0u, 1u);
    let of_lane = power(mode, 4u * lane, 2u, TILE_BITS);
    var sum = vec4<f32>();
    for (var start = 0u; start < params.length; start += 4u * LANES) {
        var term = times(of_lane, power(mode, start, TILE_BITS, params.bits));
        for (var n = 0u; n < 4u; n++) {
            let l = start + 4u * lane + n;
            let scaled = sample(sequence, l) * term;
            sum += vec4<f32>(scaled, scaled * f32(l));
            term = times(term, one);
        }
    }
    of_lanes[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            of_lanes[lane] += of_lanes[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        let all = of_lanes[0];
        if (STATES) {
            sums[group] = all.xy;
        } else {
            sums[2u * group] = all.xy;
            sums[2u * group + 1u] = all.zw;
        }
    }
}

// The sample with that exponent; 0 past the end.
fn sample(sequence: u32, exponent: u32) -> f32 {
    if (exponent >= params.length) {
        return 0.0;
    }
    let i = sequence * params.length + select(exponent, params.length - 1u - exponent, STATES);
    var value = x_load(i);
    if (HAS_PRE) {
        value *= pre_load(i);
    }
    return value;
}
