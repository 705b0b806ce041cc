// One tap of an unfused convolution's gradients as an array operation: adds what the sums after each input have of it to
// what those of the taps before gave. The last tap leaves the gradients of the inputs.

struct Params {
    groups: u32, // rows x steps, by LANES
    total: u32,  // rows x steps
    channels: u32,
    length: u32, // steps in a row
    tap: u32,    // of which the first finds nothing
}

const LANES: u32 = 256;
const WIDTH: u32 = 4; // taps

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dsums: array<f32>; // (rows, length)
@group(0) @binding(2) var<storage, read> weight: array<f32>; // (channels, WIDTH)
@group(0) @binding(3) var<storage, read_write> found: array<f32>; // (rows, length)
@group(0) @binding(4) var<storage, read_write> dx: array<dx_word>; // (rows, length)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    if (i < params.total) {
        let lag = WIDTH - 1u - params.tap;
        var sum = 0.0;
        if (params.tap > 0u) {
            sum = found[i];
        }
        if (i % params.length + lag < params.length) {
            sum = fma(weight[i / params.length % params.channels * WIDTH + params.tap], dsums[i + lag], sum);
        }
        found[i] = sum;
        if (lag == 0u) {
            dx_store(i, sum);
        }
    }
}
