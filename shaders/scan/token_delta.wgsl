// A step of scan/token under the delta rule: it adds what its values lack of what the decayed state holds under the key.

fn held_under_key(lane: Lane, record: u32, row: u32) -> vec4<f32> {
    let line = record * params.x_dim;
    let shared_line = record / params.b_share * params.b_dim;
    var sums = vec4<f32>();
    for (var column = rank(lane) % REDUCE_LANES; column < params.b_dim; column += REDUCE_LANES) {
        let key = decay_of(record, column) * b_load(shared_line + column);
        for (var n = 0u; n < 4u; n++) {
            if (row + n < params.x_dim) {
                sums[n] = fma(states[(line + row + n) * params.b_dim + column], key, sums[n]);
            }
        }
    }
    return reduce_add(lane, sums);
}
