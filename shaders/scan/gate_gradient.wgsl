// Through the gate: from the gradient of y silu(z) to those of z and, in the place of y, of y. A lane takes four
// elements.

struct Params {
    groups: u32, // elements, by 4 LANES
    count: u32,
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<z_word>;
@group(0) @binding(2) var<storage, read> dout: array<dout_word>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> dz: array<dz_word>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let at = 4u * (flat_group(group_id, group_counts) * LANES + lane);
    let gate = z_load4(at, params.count);
    let gradient = dout_load4(at, params.count);
    let share = sigmoid(gate);
    let slope = silu_slope(gate);
    var slopes: vec4<f32>;
    for (var n = 0u; n < 4u; n++) {
        if (at + n < params.count) {
            slopes[n] = gradient[n] * y[at + n] * slope[n];
            y[at + n] = gradient[n] * gate[n] * share[n];
        }
    }
    dz_store4(at, params.count, slopes);
}
