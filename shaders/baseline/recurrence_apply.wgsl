// Of the array operations of an unfused recurrence's gradients: the states after some steps, which the scanned pairs and the
// states before them give.

const LANES: u32 = 256;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pairs: array<vec2<f32>>; // (rows, STATES, steps)
@group(0) @binding(2) var<storage, read_write> work: array<f32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let i = flat_group(group_id, group_counts) * LANES + lane;
    let steps = params.end - params.first;
    if (i < params.rows * STATES * steps) {
        let t = params.first + i % steps;
        let n = i / steps % STATES;
        let row = i / steps / STATES;
        let h = fma(pairs[i].x, work[before(row, n)], pairs[i].y);
        work[state(row, n, t)] = h;
        if (t + 1u == params.end) {
            work[after(row, n)] = h;
        }
    }
}
