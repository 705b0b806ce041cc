// The affine maps h -> a h + b, as pairs (a, b), under composition: what a linear recurrence scans.

const IDENTITY = vec2<f32>(1.0, 0.0);

// `first`, then `second`.
fn compose(first: vec2<f32>, second: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(product(first.x, second.x), apply(second, first.y));
}

// a b, but 0 where one is 0 and the other too large for f32: factors greater than 1 overflow over a tile, and a state
// of 0, or a later factor of 0, makes up for it. A NaN stays one.
fn product(a: f32, b: f32) -> f32 {
    let made_up = (a == 0.0 && abs(b) > 3e38) || (b == 0.0 && abs(a) > 3e38);
    return select(a * b, 0.0, made_up);
}

// What a lane learns from a scan over the workgroup's lanes: the composition of the lanes before it, and of all.
struct LaneScan {
    before: vec2<f32>,
    total: vec2<f32>,
}

fn apply(map: vec2<f32>, state: f32) -> f32 {
    let overflown = abs(map.x) > 3e38 && state == 0.0;
    return select(fma(map.x, state, map.y), map.y, overflown);
}
