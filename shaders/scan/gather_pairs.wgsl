// From tensors of two rows for each token, one of a row for each: a factor times the first row of one, plus a factor
// times the second row of another. What a factor of 0 belongs to is not read. A lane takes four elements of a token.

struct Params {
    groups: u32, // tokens x fours of a row, by LANES
    tokens: u32,
    width: u32,  // elements of a row
    first_scale: f32,
    second_scale: f32,
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> firsts: array<firsts_word>; // (tokens, 2, width)
@group(0) @binding(2) var<storage, read> seconds: array<seconds_word>; // (tokens, 2, width)
@group(0) @binding(3) var<storage, read_write> out: array<out_word>; // (tokens, width)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let item = flat_group(group_id, group_counts) * LANES + lane;
    let fours = (params.width + 3u) / 4u;
    let token = item / fours;
    if (token < params.tokens) {
        let at = item % fours * 4u;
        let line = token * params.width;
        var sum = vec4<f32>();
        if (params.first_scale != 0.0) {
            sum = params.first_scale * firsts_load4(2u * line + at, 2u * line + params.width);
        }
        if (params.second_scale != 0.0) {
            let second = 2u * line + params.width;
            sum += params.second_scale * seconds_load4(second + at, second + params.width);
        }
        out_store4(line + at, line + params.width, sum);
    }
}
