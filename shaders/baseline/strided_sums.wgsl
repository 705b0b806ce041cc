// Sums of what lies side by side, of so many batches, units and numbers of a unit, and where they go: a number's place in a
// unit is that of a state and a step.

struct Params {
    groups: u32,    // LANES sums each
    total: u32,     // sums
    first: u32,     // where in `parts` the terms begin
    batches: u32,   // terms of each sum, `apart` from one to the next
    apart: u32,
    share: u32,     // units whose terms are summed with them
    width: u32,     // numbers of a unit
    units: u32,     // sums of so many units are those of a batch
    window: u32,    // steps of a state
    steps: u32,     // of which so many are there
    out_batch: u32, // distances in `sums`
    out_unit: u32,
    out_state: u32,
    out_step: u32,
    first_step: u32,
}

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<sums_word>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    let number = i % params.width;
    let step = number % params.window;
    if (i >= params.total || step >= params.steps) {
        return;
    }
    let unit = i / params.width;
    var sum = 0.0;
    for (var batch = 0u; batch < params.batches; batch++) {
        let first = params.first + batch * params.apart + unit * params.share * params.width + number;
        for (var s = 0u; s < params.share; s++) {
            sum += parts[first + s * params.width];
        }
    }
    let place = unit / params.units * params.out_batch + unit % params.units * params.out_unit;
    sums_store(place + number / params.window * params.out_state + (params.first_step + step) * params.out_step, sum);
}
