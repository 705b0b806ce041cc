// A bias for every output of a row.

@group(0) @binding(0) var<storage, read> bias: array<bias_word>; // (outputs of a row)

fn bias4(i: u32, end: u32) -> vec4<f32> {
    return bias_load4(i, end);
}
