// Every lane of a row measures its weights against the largest score of the whole tile.
fn share_max(lane: Lane, values: vec4<f32>) -> vec4<f32> {
    return reduce_max(lane, values);
}
