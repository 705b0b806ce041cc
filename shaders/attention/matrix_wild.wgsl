// What the gradients of a tile on matrix units do about what is infinite or NaN.

// For each column the last tile, by its number from 1 on, in which something infinite or NaN was staged for it while some row
// may have no weight for it. `wild` holds the last such tile.
var<workgroup> wild_columns: array<u32, SIDE>;

// Takes note of it where it was staged.
fn note_wild(tile: u32, visit: Visit, column: u32, four: vec4<f16>) {
    if (is_partial(visit) && column < COLUMNS && any(is_nan_or_infinite(vec4<f32>(four)))) {
        wild = vec4<u32>(tile);
        wild_columns[column] = tile;
    }
}

// One lane calls this, in front of a barrier.
fn forget_wild() {
    wild = vec4<u32>();
    for (var column = 0u; column < SIDE; column++) {
        wild_columns[column] = 0u;
    }
}

fn is_wild(tile: u32) -> bool {
    return wild.x == tile;
}

fn wild_columns4(first: u32) -> vec4<u32> {
    return vec4<u32>(
        wild_columns[first],
        wild_columns[first + 1u],
        wild_columns[first + 2u],
        wild_columns[first + 3u],
    );
}

// Weights, infinite for wild columns unless they are 0: times the zeros that stand for what is wild they make NaNs.
fn wild_weights(tile: u32, weights: vec4<f32>, columns: vec4<u32>) -> vec4<f32> {
    let weighed = (bitcast<vec4<u32>>(weights) & vec4<u32>(0x7fffffffu)) > vec4<u32>();
    return select(weights, vec4<f32>(params.unseen), weighed & (columns == vec4<u32>(tile)));
}
