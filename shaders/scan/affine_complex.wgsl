// The affine maps h -> a h + b of complex numbers, as (a, b) with real and imaginary parts beside each other, under
// composition.

alias Map = vec4<f32>;
alias Value = vec2<f32>;

const IDENTITY = Map(1.0, 0.0, 0.0, 0.0);

// `first`, then `second`.
fn compose(first: Map, second: Map) -> Map {
    return Map(complex_product(first.xy, second.xy), apply(second, first.zw));
}

// 0 where one is 0 and the other too large for f32, as with real factors.
fn complex_product(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    if ((all(a == vec2<f32>()) && overflown(b)) || (all(b == vec2<f32>()) && overflown(a))) {
        return vec2<f32>();
    }
    return vec2<f32>(fma(a.x, b.x, -a.y * b.y), fma(a.x, b.y, a.y * b.x));
}

fn overflown(a: vec2<f32>) -> bool {
    return any(abs(a) > vec2<f32>(3e38));
}

fn apply(map: Map, state: Value) -> Value {
    return complex_product(map.xy, state) + map.zw;
}
