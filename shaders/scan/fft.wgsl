// Fourier transforms in workgroup memory, in place. The forward transform takes numbers in natural order and leaves
// them in bit-reversed order (decimation in frequency, Gentleman and Sande 1966); the way back takes them in that order
// (decimation in time, Cooley and Tukey 1965), so that nothing is ever permuted. The kernel declares LANES and TILE.
//
// The tile holds transforms of `points` numbers that lie `stride` apart: with a stride of 1 one transform behind the
// other, with a larger one as many side by side.

const_assert TILE % (8u * LANES) == 0u;

// exp(-2 pi i j / TILE) for j < TILE, from the host in f64; then exp(-2 pi i j / points) for j < points / TILE, where a
// transform is longer than the tile.
@group(0) @binding(0) var<storage, read> turns: array<vec2<f32>>;

var<workgroup> tile: array<vec2<f32>, TILE>;

// Where a number lies: eight that a lane takes at once, of lanes next to each other, are in different banks.
fn slot(i: u32) -> u32 {
    return i ^ ((i >> 4u) & 7u);
}

// Two numbers, side by side from an even place.
fn put_pair(i: u32, pair: vec4<f32>) {
    tile[slot(i)] = pair.xy;
    tile[slot(i + 1u)] = pair.zw;
}

fn pair_at(i: u32) -> vec4<f32> {
    return vec4<f32>(tile[slot(i)], tile[slot(i + 1u)]);
}

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

fn conjugate(a: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x, -a.y);
}

// exp(-2 pi i j / points) for j < points: from the table, or a coarse and a fine turn of it.
fn turn(j: u32, points: u32) -> vec2<f32> {
    if (points <= TILE) {
        return turns[j * (TILE / points)];
    }
    let fine = points / TILE;
    return times(turns[j / fine], turns[TILE + j % fine]);
}

// The bits of i < count, a power of two, in reverse: the frequency in that place, and the place of that frequency.
fn reversed_bits(i: u32, count: u32) -> u32 {
    return reverseBits(i) >> (countLeadingZeros(count) + 1u);
}

// To bit-reversed frequencies. The tile was written before a barrier, and can be read at once afterwards.
fn transform(lane: u32, points: u32, stride: u32) {
    var span = points * stride;
    let levels = countTrailingZeros(points) % 3u;
    if (levels == 1u) {
        forward_by_two(lane, span, stride);
        span /= 2u;
        workgroupBarrier();
    } else if (levels == 2u) {
        forward_by_four(lane, span, stride);
        span /= 4u;
        workgroupBarrier();
    }
    for (; span > stride; span /= 8u) {
        forward_by_eight(lane, span, stride);
        workgroupBarrier();
    }
}

// Back from bit-reversed frequencies, times `points`.
fn transform_back(lane: u32, points: u32, stride: u32) {
    let whole = points * stride;
    let levels = countTrailingZeros(points) % 3u;
    for (var span = 8u * stride; span <= whole; span *= 8u) {
        back_by_eight(lane, span, stride);
        workgroupBarrier();
    }
    if (levels == 1u) {
        back_by_two(lane, whole, stride);
        workgroupBarrier();
    } else if (levels == 2u) {
        back_by_four(lane, whole, stride);
        workgroupBarrier();
    }
}

// The place of the first number of the j-th butterfly over `count` numbers `step` apart.
fn butterfly(j: u32, step: u32, count: u32) -> u32 {
    let place = j % step;
    return (j - place) * count + place;
}

fn forward_by_two(lane: u32, span: u32, stride: u32) {
    let step = span / 2u;
    for (var j = lane; j < TILE / 2u; j += LANES) {
        let i = butterfly(j, step, 2u);
        let a = tile[slot(i)];
        let b = tile[slot(i + step)];
        tile[slot(i)] = a + b;
        tile[slot(i + step)] = times(a - b, turns[j % step / stride * (TILE * stride / span)]);
    }
}

fn back_by_two(lane: u32, span: u32, stride: u32) {
    let step = span / 2u;
    for (var j = lane; j < TILE / 2u; j += LANES) {
        let i = butterfly(j, step, 2u);
        let a = tile[slot(i)];
        let turned = conjugate(turns[j % step / stride * (TILE * stride / span)]);
        let b = times(tile[slot(i + step)], turned);
        tile[slot(i)] = a + b;
        tile[slot(i + step)] = a - b;
    }
}

fn forward_by_four(lane: u32, span: u32, stride: u32) {
    let step = span / 4u;
    for (var j = lane; j < TILE / 4u; j += LANES) {
        let i = butterfly(j, step, 4u);
        let x = forward_four(array<vec2<f32>, 4>(
            tile[slot(i)],
            tile[slot(i + step)],
            tile[slot(i + 2u * step)],
            tile[slot(i + 3u * step)],
        ));
        let j1 = j % step / stride * (TILE * stride / span);
        let w1 = turns[j1];
        let w2 = turns[2u * j1];
        tile[slot(i)] = x[0];
        tile[slot(i + step)] = times(x[1], w2);
        tile[slot(i + 2u * step)] = times(x[2], w1);
        tile[slot(i + 3u * step)] = times(x[3], times(w1, w2));
    }
}

fn back_by_four(lane: u32, span: u32, stride: u32) {
    let step = span / 4u;
    for (var j = lane; j < TILE / 4u; j += LANES) {
        let i = butterfly(j, step, 4u);
        let j1 = j % step / stride * (TILE * stride / span);
        let w1 = conjugate(turns[j1]);
        let w2 = conjugate(turns[2u * j1]);
        var x = back_four(array<vec2<f32>, 4>(
            tile[slot(i)],
            times(tile[slot(i + step)], w2),
            times(tile[slot(i + 2u * step)], w1),
            times(tile[slot(i + 3u * step)], times(w1, w2)),
        ));
        for (var n = 0u; n < 4u; n++) {
            tile[slot(i + n * step)] = x[n];
        }
    }
}

fn forward_by_eight(lane: u32, span: u32, stride: u32) {
    let step = span / 8u;
    for (var j = lane; j < TILE / 8u; j += LANES) {
        let i = butterfly(j, step, 8u);
        var x: array<vec2<f32>, 8>;
        for (var n = 0u; n < 8u; n++) {
            x[n] = tile[slot(i + n * step)];
        }
        x = forward_eight(x);
        if (step > stride) {
            x = turn_eight(x, eight_turns(j % step / stride * (TILE * stride / span), 1.0));
        }
        for (var n = 0u; n < 8u; n++) {
            tile[slot(i + n * step)] = x[n];
        }
    }
}

fn back_by_eight(lane: u32, span: u32, stride: u32) {
    let step = span / 8u;
    for (var j = lane; j < TILE / 8u; j += LANES) {
        let i = butterfly(j, step, 8u);
        var x: array<vec2<f32>, 8>;
        for (var n = 0u; n < 8u; n++) {
            x[n] = tile[slot(i + n * step)];
        }
        if (step > stride) {
            x = turn_eight(x, eight_turns(j % step / stride * (TILE * stride / span), -1.0));
        }
        x = back_eight(x);
        for (var n = 0u; n < 8u; n++) {
            tile[slot(i + n * step)] = x[n];
        }
    }
}

// The 1st, 2nd and 4th power of a turn; against the clock with a sign of -1.
fn eight_turns(j: u32, sign: f32) -> array<vec2<f32>, 3> {
    let direction = vec2<f32>(1.0, sign);
    return array<vec2<f32>, 3>(turns[j] * direction, turns[2u * j] * direction, turns[4u * j] * direction);
}

// Multiplies what lies in place n of a butterfly by the power that is n in reverse.
fn turn_eight(x: array<vec2<f32>, 8>, w: array<vec2<f32>, 3>) -> array<vec2<f32>, 8> {
    let w3 = times(w[0], w[1]);
    return array<vec2<f32>, 8>(
        x[0],
        times(x[1], w[2]),
        times(x[2], w[1]),
        times(x[3], times(w[1], w[2])),
        times(x[4], w[0]),
        times(x[5], times(w[0], w[2])),
        times(x[6], w3),
        times(x[7], times(w3, w[2])),
    );
}

// Four numbers in natural order to frequencies 0, 2, 1, 3.
fn forward_four(x: array<vec2<f32>, 4>) -> array<vec2<f32>, 4> {
    let even = x[0] + x[2];
    let odd = x[1] + x[3];
    let even_left = x[0] - x[2];
    let odd_left = x[1] - x[3];
    let turned = vec2<f32>(odd_left.y, -odd_left.x);
    return array<vec2<f32>, 4>(even + odd, even - odd, even_left + turned, even_left - turned);
}

fn back_four(x: array<vec2<f32>, 4>) -> array<vec2<f32>, 4> {
    let even = x[0] + x[1];
    let odd = x[0] - x[1];
    let even_left = x[2] + x[3];
    let odd_left = x[2] - x[3];
    let turned = vec2<f32>(-odd_left.y, odd_left.x);
    return array<vec2<f32>, 4>(even + even_left, odd + turned, even - even_left, odd - turned);
}

const SQRT_HALF: f32 = 0.70710678118654752;

// Eight numbers in natural order to frequencies 0, 4, 2, 6, 1, 5, 3, 7.
fn forward_eight(x: array<vec2<f32>, 8>) -> array<vec2<f32>, 8> {
    let b1 = x[1] - x[5];
    let b2 = x[2] - x[6];
    let b3 = x[3] - x[7];
    let sums = forward_four(array<vec2<f32>, 4>(x[0] + x[4], x[1] + x[5], x[2] + x[6], x[3] + x[7]));
    let left = forward_four(array<vec2<f32>, 4>(
        x[0] - x[4],
        SQRT_HALF * vec2<f32>(b1.x + b1.y, b1.y - b1.x),
        vec2<f32>(b2.y, -b2.x),
        SQRT_HALF * vec2<f32>(b3.y - b3.x, -b3.x - b3.y),
    ));
    return array<vec2<f32>, 8>(sums[0], sums[1], sums[2], sums[3], left[0], left[1], left[2], left[3]);
}

fn back_eight(x: array<vec2<f32>, 8>) -> array<vec2<f32>, 8> {
    let a = back_four(array<vec2<f32>, 4>(x[0], x[1], x[2], x[3]));
    let left = back_four(array<vec2<f32>, 4>(x[4], x[5], x[6], x[7]));
    let b1 = SQRT_HALF * vec2<f32>(left[1].x - left[1].y, left[1].x + left[1].y);
    let b2 = vec2<f32>(-left[2].y, left[2].x);
    let b3 = SQRT_HALF * vec2<f32>(-left[3].x - left[3].y, left[3].x - left[3].y);
    return array<vec2<f32>, 8>(
        a[0] + left[0],
        a[1] + b1,
        a[2] + b2,
        a[3] + b3,
        a[0] - left[0],
        a[1] - b1,
        a[2] - b2,
        a[3] - b3,
    );
}
