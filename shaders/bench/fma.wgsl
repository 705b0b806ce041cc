// Multiply-adds in registers: what this adapter's arithmetic gives. A lane runs independent chains, enough to hide
// the latency of one and few enough for the registers of a processor with vector units. The factors come from the
// host, and every chain ends in the result, so that no compiler can shorten them.

struct Params {
    groups: u32,
    rounds: u32,
    factor: f32,
    term: f32,
}

const LANES: u32 = 256;
const STEPS: u32 = 16; // multiply-adds of each of the twelve chains in a round

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> results: array<f32>; // (groups, LANES)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        results[group * LANES + lane] = run_chains(f32(lane));
    }
}

fn run_chains(start: f32) -> f32 {
    let factor = vec4<f32>(params.factor);
    let term = vec4<f32>(params.term);
    var a = start + vec4<f32>(0.0, 0.1, 0.2, 0.3);
    var b = start + vec4<f32>(0.4, 0.5, 0.6, 0.7);
    var c = start + vec4<f32>(0.8, 0.9, 1.0, 1.1);
    for (var round = 0u; round < params.rounds; round++) {
        for (var step = 0u; step < STEPS; step++) {
            a = fma(a, factor, term);
            b = fma(b, factor, term);
            c = fma(c, factor, term);
        }
    }
    return dot(a + b + c, vec4<f32>(1.0));
}
