// Two tensors of a row for each token become one of two rows for each: those of the first, then those of the second,
// each times a factor. A lane takes four elements of a token.

struct Params {
    groups: u32, // tokens x fours of a row, by LANES
    tokens: u32,
    width: u32,  // elements of a row
    first_scale: f32,
    second_scale: f32,
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> first: array<first_word>; // (tokens, width)
@group(0) @binding(2) var<storage, read> second: array<second_word>; // (tokens, width)
@group(0) @binding(3) var<storage, read_write> out: array<out_word>; // (tokens, 2, width)

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
        let one = params.first_scale * first_load4(line + at, line + params.width);
        let two = params.second_scale * second_load4(line + at, line + params.width);
        out_store4(2u * line + at, 2u * line + params.width, one);
        out_store4(2u * line + params.width + at, 2u * (line + params.width), two);
    }
}
