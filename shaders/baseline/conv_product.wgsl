// Multiplies the spectra of sequences with those of kernels, in place, where each number is two samples.

struct Params {
    groups: u32, // LANES pairs of opposite frequencies each
    total: u32, // pairs of all rows
    channels: u32, // kernels, over which rows run again and again
    points: u32, // numbers of a row
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> turns: array<vec2<f32>>; // exp(-2 pi i j / points)
@group(0) @binding(2) var<storage, read> kernels: array<vec2<f32>>; // (channels, points)
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
    let pairs = params.points / 2u;
    let k = i % pairs;
    let row = i / pairs;
    // Frequency 0 shares its pair with that of pairs: both are their own opposites.
    let other = select(params.points - k, pairs, k == 0u);
    let a = row * params.points + k;
    let b = row * params.points + other;
    let kernel = row % params.channels * params.points;
    let x = split(k == 0u, numbers[a], numbers[b]);
    let spectrum = split(k == 0u, kernels[kernel + k], kernels[kernel + other]);
    let both = join(k == 0u, convolved(k == 0u, x, spectrum, turns[k]));
    numbers[a] = both.xy;
    numbers[b] = both.zw;
}

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
