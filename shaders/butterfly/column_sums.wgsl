// parts[part, i] = sum over the rows of a part of rows[row, i]: the gradient of a bias, short of the sum over the parts.

struct Params {
    groups: u32, // parts x groups of columns
    rows: u32,
    part_rows: u32,
    width: u32,
}

const LANES: u32 = 64;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> rows: array<rows_word>; // (rows, width)
@group(0) @binding(2) var<storage, read_write> parts: array<parts_word>; // (parts, width)

@compute @workgroup_size(LANES)
fn main(
    @builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) group_counts: vec3<u32>,
) {
    let group = flat_group(group_id, group_counts);
    let across = (params.width + 4u * LANES - 1u) / (4u * LANES);
    let part = group / across;
    let column = (group % across * LANES + lane) * 4u;
    if (group < params.groups && column < params.width) {
        var sum = vec4<f32>();
        let end = min((part + 1u) * params.part_rows, params.rows);
        for (var row = part * params.part_rows; row < end; row++) {
            let start = row * params.width;
            sum += rows_load4(start + column, start + params.width);
        }
        let start = part * params.width;
        parts_store4(start + column, start + params.width, sum);
    }
}
