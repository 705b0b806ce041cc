// The kernels of a diagonal state-space model, as sums over its modes of a weight times a power. A workgroup takes
// 4 LANES samples of a kernel, a lane four that follow each other.

struct Params {
    groups: u32, // channels x tiles
    length: u32,
    tiles: u32, // of a kernel
    pairs: u32, // modes of a channel
    bits: u32, // of the largest exponent
}

const LANES: u32 = 256;
const TILE_BITS: u32 = 10; // 4 LANES samples

const_assert 4u * LANES == 1u << TILE_BITS;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> k: array<f32>; // (channels, length)

var<workgroup> starts: array<vec2<f32>, LANES>; // each mode's weight times its power at the tile's start

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        make_tile(lane, group / params.tiles, group % params.tiles * 4u * LANES);
    }
}

fn make_tile(lane: u32, channel: u32, start: u32) {
    var sums = vec4<f32>();
    for (var first = 0u; first < params.pairs; first += LANES) {
        if (first + lane < params.pairs) {
            let mode = channel * params.pairs + first + lane;
            starts[lane] = times(weight(mode), power(mode, start, TILE_BITS, params.bits));
        }
        workgroupBarrier();
        for (var i = 0u; i < min(LANES, params.pairs - first); i++) {
            let mode = channel * params.pairs + first + i;
            let one = power(mode, 1u, 0u, 1u);
            var term = times(starts[i], power(mode, 4u * lane, 2u, TILE_BITS));
            for (var n = 0u; n < 4u; n++) {
                sums[n] += term.x;
                term = times(term, one);
            }
        }
        // The next modes overwrite the starts.
        workgroupBarrier();
    }
    for (var n = 0u; n < 4u; n++) {
        let l = start + 4u * lane + n;
        if (l < params.length) {
            k[channel * params.length + l] = 2.0 * sums[n];
        }
    }
}
