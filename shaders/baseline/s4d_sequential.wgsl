// A diagonal state-space model as the loop that it is: one lane takes one sequence with all its states, a sample at a time. A
// dispatch takes some of the samples; states stay in `states` between them.

struct Params {
    groups: u32, // rows, by LANES
    rows: u32,   // batch x channels
    channels: u32,
    length: u32, // samples of a row
    first: u32,  // the samples of this dispatch, from this one
    end: u32,    // to before this one
    stride: u32, // numbers of a mode, of which the first is its weight and the second its first power
}

const LANES: u32 = 64;
const PAIRS: u32 = 32;
const HAS_SKIP: bool = true; // without, `skip` is not read
const HAS_PRE: bool = true; // without, `pre` is not read
const HAS_POST: bool = true; // without, `post` is not read

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(2) var<storage, read> modes: array<vec2<f32>>; // (channels, PAIRS, stride)
@group(0) @binding(3) var<storage, read> skip: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> pre: array<pre_word>; // (rows, length)
@group(0) @binding(5) var<storage, read> post: array<post_word>; // (rows, length)
@group(0) @binding(6) var<storage, read_write> states: array<vec2<f32>>; // (rows, PAIRS), before this dispatch and after
@group(0) @binding(7) var<storage, read_write> y: array<y_word>; // (rows, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let row = flat_group(group_id, group_counts) * LANES + lane;
    if (row < params.rows) {
        scan_row(row);
    }
}

fn scan_row(row: u32) {
    let channel = row % params.channels;
    var h: array<vec2<f32>, PAIRS>;
    for (var n = 0u; n < PAIRS; n++) {
        h[n] = states[row * PAIRS + n];
    }
    for (var t = params.first; t < params.end; t++) {
        let place = row * params.length + t;
        var sample = x_load(place);
        if (HAS_PRE) {
            sample *= pre_load(place);
        }
        var sum = 0.0;
        for (var n = 0u; n < PAIRS; n++) {
            let mode = (channel * PAIRS + n) * params.stride;
            h[n] = times(modes[mode + 1u], h[n]) + vec2<f32>(sample, 0.0);
            sum += times(modes[mode], h[n]).x;
        }
        var result = 2.0 * sum;
        if (HAS_SKIP) {
            result = fma(skip[channel], sample, result);
        }
        if (HAS_POST) {
            result *= post_load(place);
        }
        y_store(place, result);
    }
    for (var n = 0u; n < PAIRS; n++) {
        states[row * PAIRS + n] = h[n];
    }
}

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
