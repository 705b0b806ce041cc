// Puts what belongs to channels, and the states with which rows begin, into one tensor: the kernels of a selective
// scan read more tensors than a kernel can bind.

struct Params {
    groups: u32, // numbers, by LANES
    total: u32,
    states: u32, // numbers of A
    channels: u32,
}

const LANES: u32 = 64;
const B_VARIES: bool = true; // where it does, it is not put in
const C_VARIES: bool = true;
const HAS_SKIP: bool = true; // without, D is 0
const HAS_BIAS: bool = true; // without, the bias is 0

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // (channels, states)
@group(0) @binding(2) var<storage, read> b: array<f32>; // (channels, states)
@group(0) @binding(3) var<storage, read> c: array<f32>; // (channels, states)
@group(0) @binding(4) var<storage, read> skip: array<f32>; // (channels)
@group(0) @binding(5) var<storage, read> bias: array<f32>; // (channels)
@group(0) @binding(6) var<storage, read> initial: array<f32>; // (batch, channels, states)
@group(0) @binding(7) var<storage, read_write> held: array<f32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        held[i] = pick(i);
    }
}

fn pick(i: u32) -> f32 {
    var place = i;
    if (place < params.states) {
        return a[place];
    }
    place -= params.states;
    if (!B_VARIES) {
        if (place < params.states) {
            return b[place];
        }
        place -= params.states;
    }
    if (!C_VARIES) {
        if (place < params.states) {
            return c[place];
        }
        place -= params.states;
    }
    if (place < params.channels) {
        if (HAS_SKIP) {
            return skip[place];
        }
        return 0.0;
    }
    place -= params.channels;
    if (place < params.channels) {
        if (HAS_BIAS) {
            return bias[place];
        }
        return 0.0;
    }
    return initial[place - params.channels];
}
