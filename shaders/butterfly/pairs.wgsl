// Factors whose entries are single numbers, two at a time: a lane takes a quad of nodes whose numbers differ in the two
// factors' bits, so that it needs no other lane between them.

// The two bits of a quad, in the tile. Corner i has the first bit set if i is odd, and the second if i / 2 is.
struct Axes {
    first: u32,
    second: u32,
    across: bool, // whether the second factor is along the second bit
}

// For `levels` factors of the pass, from its `place`-th on.
fn axes_of(place: u32, levels: u32) -> Axes {
    let first = tile_bit(place);
    let second = tile_bit(place + levels - 1u);
    // A factor by itself, or two of the same stride where a block ends, leave the second bit to whichever is free.
    let across = second != first;
    return Axes(first, select(select(0u, 1u, first == 0u), second, across), across);
}

fn tile_bit(place: u32) -> u32 {
    return stride_bit(factor_at(place)) - params.low + params.run;
}

// The first corner of a quad: its number with a zero put in at either bit.
fn corner_of(quad: u32, axes: Axes) -> u32 {
    return with_zero_at(with_zero_at(quad, min(axes.first, axes.second)), max(axes.first, axes.second));
}

fn read_quad(corner: u32, axes: Axes) -> array<Point, 4> {
    let first = 1u << axes.first;
    let second = 1u << axes.second;
    return array<Point, 4>(
        tile[slot(corner)],
        tile[slot(corner | first)],
        tile[slot(corner | second)],
        tile[slot(corner | first | second)],
    );
}

fn write_quad(corner: u32, axes: Axes, points: array<Point, 4>) {
    let first = 1u << axes.first;
    let second = 1u << axes.second;
    tile[slot(corner)] = points[0];
    tile[slot(corner | first)] = points[1];
    tile[slot(corner | second)] = points[2];
    tile[slot(corner | first | second)] = points[3];
}

// The pairs of a quad that one factor mixes, and their matrices.
struct Mix {
    across: bool, // the pairs are (0, 2) and (1, 3), not (0, 1) and (2, 3)
    weights: array<Twiddle, 2>,
}

// The corners of either pair.
fn corners_of(across: bool, pair: u32) -> vec2<u32> {
    if (across) {
        return vec2<u32>(pair, pair + 2u);
    }
    return vec2<u32>(2u * pair, 2u * pair + 1u);
}

// The numbers of either pair among those of its factor. A tile has four nodes at least: where rows have two, the other
// pair is nobody's.
fn pairs_of(position: u32, place: u32, corner: u32, axes: Axes, across: bool) -> array<u32, 2> {
    let bit = stride_bit(factor_at(place));
    let other = corner | (1u << select(axes.second, axes.first, across));
    return array<u32, 2>(
        pair_of(node_of(position, corner), bit),
        pair_of(node_of(position, other), bit),
    );
}

fn mix_of(stack: u32, position: u32, place: u32, corner: u32, axes: Axes, across: bool) -> Mix {
    let pairs = pairs_of(position, place, corner, axes, across);
    let first = first_pair(stack, factor_at(place));
    let end = first + (1u << (params.log_n - 1u));
    let weights = array<Twiddle, 2>(
        oriented(twiddle_at(first + pairs[0], end)),
        oriented(twiddle_at(first + pairs[1], end)),
    );
    return Mix(across, weights);
}

fn oriented(t: Twiddle) -> Twiddle {
    if (TRANSPOSED) {
        return transposed(t);
    }
    return t;
}

fn mixed_quad(mix: Mix, points: array<Point, 4>) -> array<Point, 4> {
    var given = points;
    let first = corners_of(mix.across, 0u);
    let second = corners_of(mix.across, 1u);
    return in_order(
        mix.across,
        mixed(mix.weights[0], given[first.x], given[first.y]),
        mixed(mix.weights[1], given[second.x], given[second.y]),
    );
}

fn mixed_back_quad(mix: Mix, points: array<Point, 4>) -> array<Point, 4> {
    var given = points;
    let first = corners_of(mix.across, 0u);
    let second = corners_of(mix.across, 1u);
    return in_order(
        mix.across,
        mixed_back(mix.weights[0], given[first.x], given[first.y]),
        mixed_back(mix.weights[1], given[second.x], given[second.y]),
    );
}

fn in_order(across: bool, first: array<Point, 2>, second: array<Point, 2>) -> array<Point, 4> {
    if (across) {
        return array<Point, 4>(first[0], second[0], first[1], second[1]);
    }
    return array<Point, 4>(first[0], first[1], second[0], second[1]);
}
