// Products of cooperative matrices in registers: what this adapter's matrix units give. A subgroup runs independent chains
// of products of f16 summed in f32. The factors come from a buffer, each chain has one of its own, and every chain ends in
// the results, so that no compiler can shorten them.

struct Params {
    groups: u32,
    rounds: u32,
}

const SUBGROUPS: u32 = 4; // subgroups of a workgroup
const SUBGROUP_LANES: u32 = 32;
const CHAINS: u32 = 8; // of a subgroup
const STEPS: u32 = 8; // products of each chain in a round

const c0 = 0u; // each c

const LANES = SUBGROUPS * SUBGROUP_LANES;
const SQUARE = SIDE * SIDE;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> factors: array<vec4<f16>>; // (CHAINS, SIDE, SIDE)
@group(0) @binding(2) var<storage, read_write> results: array<vec4<f32>>; // (groups, SUBGROUPS, CHAINS, SIDE, SIDE)

@compute @workgroup_size(LANES)
fn main(
    lane: Lane,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    if (group < params.groups) {
        run_chains(group * SUBGROUPS + lane.subgroup);
    }
}

fn run_chains(subgroup: u32) {
    let right = coopLoadT<Right>(&factors[0], SIDE / 4u);
    let left_c0 = coopLoadT<Left>(&factors[c0 * SQUARE / 4u], SIDE / 4u); // each c
    var sum_c0: Sum; // each c
    for (var round = 0u; round < params.rounds; round++) {
        for (var step = 0u; step < STEPS; step++) {
            sum_c0 = coopMultiplyAdd(left_c0, right, sum_c0); // each c
        }
    }
    coopStoreT(sum_c0, &results[(subgroup * CHAINS + c0) * SQUARE / 4u], SIDE / 4u); // each c
}
