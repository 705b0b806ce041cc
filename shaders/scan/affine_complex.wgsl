// The affine maps h -> a h + b of complex numbers, as (a, b) with real and imaginary parts beside each other, under
// composition.

alias Map = vec4<f32>;
alias Value = vec2<f32>;

const IDENTITY = Map(1.0, 0.0, 0.0, 0.0);
const START = Value(0.0, 0.0); // what rows begin with where nothing is given
const ONE = Value(1.0, 0.0);

// `first`, then `second`.
fn compose(first: Map, second: Map) -> Map {
    return Map(complex_product(first.xy, second.xy), apply(second, first.zw));
}

// 0 where one is 0 and the other too large for f32, as with real factors. What else a number that is too large multiplies is
// too large in every direction: its own is not known, and would make a NaN of it that is no longer seen to be too large.
fn complex_product(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    if (overflown(a) || overflown(b)) {
        if (all(a == vec2<f32>()) || all(b == vec2<f32>())) {
            return vec2<f32>();
        }
        return vec2<f32>((abs(a.x) + abs(a.y)) * (abs(b.x) + abs(b.y)));
    }
    return vec2<f32>(fma(a.x, b.x, -a.y * b.y), fma(a.x, b.y, a.y * b.x));
}

fn overflown(a: vec2<f32>) -> bool {
    return any(abs(a) > vec2<f32>(3e38));
}

fn apply(map: Map, state: Value) -> Value {
    return complex_product(map.xy, state) + map.zw;
}

// A single step's factor is the caller's own and has not overflown, which spares the check that `apply` makes.
fn take_step(step: Map, state: Value) -> Value {
    return fma(vec2<f32>(step.x), state, fma(vec2<f32>(-step.y, step.y), state.yx, step.zw));
}

// `first`, then a single step.
fn compose_step(first: Map, step: Map) -> Map {
    return Map(complex_product(first.xy, step.xy), take_step(step, first.zw));
}

fn conjugate(x: Value) -> Value {
    return Value(x.x, -x.y);
}

// x times the conjugate of y.
fn times_conjugate(x: Value, y: Value) -> Value {
    return Value(fma(x.x, y.x, x.y * y.y), fma(x.y, y.x, -x.x * y.y));
}
