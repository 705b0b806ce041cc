// The affine maps h -> a h + b, as pairs (a, b), under composition: what a linear recurrence scans.

const IDENTITY = vec2<f32>(1.0, 0.0);

// `first`, then `second`.
fn compose(first: vec2<f32>, second: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(first.x * second.x, fma(second.x, first.y, second.y));
}

// What a lane learns from a scan over the workgroup's lanes: the composition of the lanes before it, and of all.
struct LaneScan {
    before: vec2<f32>,
    total: vec2<f32>,
}

fn apply(map: vec2<f32>, state: f32) -> f32 {
    return fma(map.x, state, map.y);
}
