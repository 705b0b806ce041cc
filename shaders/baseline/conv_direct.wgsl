// A long convolution as the sums that it is, in tiles: a workgroup takes 4 LANES samples of a sequence, and goes over the
// samples before them, as many at a time, with those of the kernel that lie between the two.

struct Params {
    groups: u32, // sequences x tiles
    length: u32,
    taps: u32, // of a kernel
    channels: u32,
    tiles: u32, // of a sequence
}

const LANES: u32 = 64;
const HAS_SKIP: bool = true; // without, `skip` is not read
const HAS_PRE: bool = true; // without, `pre` is not read
const HAS_POST: bool = true; // without, `post` is not read

const TILE: u32 = 4u * LANES;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<x_word>; // (batch, channels, length)
@group(0) @binding(2) var<storage, read> k: array<k_word>; // (channels, taps)
@group(0) @binding(3) var<storage, read> skip: array<f32>; // (channels)
@group(0) @binding(4) var<storage, read> pre: array<pre_word>; // (batch, channels, length)
@group(0) @binding(5) var<storage, read> post: array<post_word>; // (batch, channels, length)
@group(0) @binding(6) var<storage, read_write> y: array<y_word>; // (batch, channels, length)

var<workgroup> samples: array<vec4<f32>, LANES>;
var<workgroup> kernel: array<vec4<f32>, 2u * LANES>; // lags from a tile before the one of interest

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        convolve_tile(lane, group / params.tiles, group % params.tiles);
    }
}

fn convolve_tile(lane: u32, row: u32, tile: u32) {
    var sums = vec4<f32>();
    for (var from_tile = 0u; from_tile <= tile; from_tile++) {
        samples[lane] = load(row, from_tile * TILE + 4u * lane);
        // Wraps around below lag 0, and is past the kernel's end.
        let first = (tile - from_tile) * TILE - TILE;
        kernel[lane] = load_kernel(row, first + 4u * lane);
        kernel[lane + LANES] = load_kernel(row, first + TILE + 4u * lane);
        workgroupBarrier();
        for (var quad = 0u; quad < LANES; quad++) {
            // Lags from four below to four above the distance of the quads.
            let below = kernel[LANES + lane - quad - 1u];
            let above = kernel[LANES + lane - quad];
            let four = samples[quad];
            sums += four.x * above
                + four.y * vec4<f32>(below.w, above.xyz)
                + four.z * vec4<f32>(below.zw, above.xy)
                + four.w * vec4<f32>(below.yzw, above.x);
        }
        // The next tile overwrites the samples.
        workgroupBarrier();
    }
    let t = tile * TILE + 4u * lane;
    let i = row * params.length + t;
    let end = (row + 1u) * params.length;
    if (HAS_SKIP) {
        sums += skip[row % params.channels] * load(row, t);
    }
    if (HAS_POST) {
        sums *= post_load4(i, end);
    }
    if (t < params.length) {
        y_store4(i, end, sums);
    }
}

fn load(row: u32, t: u32) -> vec4<f32> {
    if (t >= params.length) {
        return vec4<f32>();
    }
    let i = row * params.length + t;
    let end = (row + 1u) * params.length;
    var four = x_load4(i, end);
    if (HAS_PRE) {
        four *= pre_load4(i, end);
    }
    return four;
}

fn load_kernel(row: u32, lag: u32) -> vec4<f32> {
    if (lag >= params.taps) {
        return vec4<f32>();
    }
    let first = row % params.channels * params.taps;
    return k_load4(first + lag, first + params.taps);
}
