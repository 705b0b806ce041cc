// Factors whose entries are matrices of ENTRY x ENTRY. A task is one element of each of the two nodes of a pair: both
// have the same inputs. What the tasks of a lane come to replaces the tile once all have read it.

const TASKS: u32 = 2; // of a lane

const PAIR_TASKS: u32 = TILE_POINTS / 2u;

const_assert TASKS * LANES >= PAIR_TASKS;

fn apply_factors(lane: u32, place: Place) {
    for (var at = 0u; at < params.count; at++) {
        let factor = factor_at(at);
        let tile_bit = stride_bit(factor) - params.low + params.run;
        var results: array<array<Point, 2>, TASKS>;
        for (var n = 0u; n < TASKS; n++) {
            let task = n * LANES + lane;
            if (task < PAIR_TASKS) {
                results[n] = pair_products(place, factor, with_zero_at(task / ENTRY, tile_bit), task % ENTRY, tile_bit);
            }
        }
        workgroupBarrier();
        for (var n = 0u; n < TASKS; n++) {
            let task = n * LANES + lane;
            if (task < PAIR_TASKS) {
                let node = with_zero_at(task / ENTRY, tile_bit);
                tile[slot(node * ENTRY + task % ENTRY)] = results[n][0];
                tile[slot((node | (1u << tile_bit)) * ENTRY + task % ENTRY)] = results[n][1];
            }
        }
        workgroupBarrier();
    }
}

// The k-th element of either node of the pair whose first is `node` in the tile.
fn pair_products(place: Place, factor: u32, node: u32, k: u32, tile_bit: u32) -> array<Point, 2> {
    let pair = pair_of(node_of(place.position, node), stride_bit(factor));
    var sums: array<Point, 2>;
    // A tile has four nodes at least: where rows have two, the others are nobody's.
    if (pair < (1u << (params.log_n - 1u))) {
        let matrix = (first_pair(place.stack, factor) + pair) * 4u * ENTRY * ENTRY;
        for (var side = 0u; side < 2u; side++) {
            let inputs = (node | (side << tile_bit)) * ENTRY;
            for (var first = 0u; first < ENTRY; first += 4u) {
                var upper = four_weights(matrix, 0u, side, k, first);
                var lower = four_weights(matrix, 1u, side, k, first);
                for (var n = 0u; n < min(ENTRY, 4u); n++) {
                    if (first + n < ENTRY) {
                        let input = tile[slot(inputs + first + n)];
                        sums[0] = add_product(sums[0], upper[n], input);
                        sums[1] = add_product(sums[1], lower[n], input);
                    }
                }
            }
        }
    }
    return sums;
}

// The weights with which element k of node `to` takes the elements of node `side` from the `first` on.
fn four_weights(matrix: u32, to: u32, side: u32, k: u32, first: u32) -> array<Weight, 4> {
    if (!TRANSPOSED) {
        let line = matrix + ((2u * to + side) * ENTRY + k) * ENTRY;
        return weights_at(line + first, line + ENTRY);
    }
    var weights: array<Weight, 4>;
    for (var n = 0u; n < 4u; n++) {
        if (first + n < ENTRY) {
            weights[n] = weight_at(matrix + ((2u * side + to) * ENTRY + first + n) * ENTRY + k);
        }
    }
    return weights;
}
