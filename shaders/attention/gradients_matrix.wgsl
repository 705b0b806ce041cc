// The gradients of a tile on matrix units. A subgroup has SIDE lines of SIDE dot products in `sums`, and a lane reads whole
// fours of one line; weights go back to `left` the same way.

// For each column the last tile, by its number from 1 on, in which something infinite or NaN was staged for it while some row
// may have no weight for it. `wild` holds the last such tile.
var<workgroup> wild_columns: array<u32, SIDE>;

// Which four of its line is the lane's.
fn lane_four(place: Place, turn: u32) -> u32 {
    return turn * ROW_LANES + place.part;
}

fn products4(place: Place, turn: u32) -> vec4<f32> {
    return sums[place.row * SUM_STRIDE + lane_four(place, turn)];
}

fn stage_weights4(place: Place, turn: u32, weights: vec4<f32>) {
    left[place.row * LEFT_STRIDE + lane_four(place, turn)] = vec4<f16>(weights);
}

// Takes note of what is infinite or NaN: weights of 0 would make NaNs of it.
fn note_wild(tile: u32, visit: Visit, column: u32, four: vec4<f16>) {
    if ((DROPOUT || !visit.whole) && column < COLUMNS && any(is_nan_or_infinite(vec4<f32>(four)))) {
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
