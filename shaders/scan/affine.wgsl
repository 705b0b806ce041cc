// The affine maps h -> a h + b of real numbers, as pairs (a, b), under composition: what a linear recurrence scans.

alias Map = vec2<f32>;
alias Value = f32;

const IDENTITY = Map(1.0, 0.0);
const START = Value(0.0); // what rows begin with where nothing is given
const ONE = Value(1.0);

// `first`, then `second`.
fn compose(first: Map, second: Map) -> Map {
    return Map(product(first.x, second.x), apply(second, first.y));
}

// a b, but 0 where one is 0 and the other too large for f32: factors greater than 1 overflow over a tile, and a state
// of 0, or a later factor of 0, makes up for it. A NaN stays one.
fn product(a: f32, b: f32) -> f32 {
    let made_up = (a == 0.0 && abs(b) > 3e38) || (b == 0.0 && abs(a) > 3e38);
    return select(a * b, 0.0, made_up);
}

fn apply(map: Map, state: Value) -> Value {
    let overflown = abs(map.x) > 3e38 && state == 0.0;
    return select(fma(map.x, state, map.y), map.y, overflown);
}

// A single step's factor is the caller's own and has not overflown, which spares the check that `apply` makes.
fn take_step(step: Map, state: Value) -> Value {
    return fma(step.x, state, step.y);
}

// `first`, then a single step.
fn compose_step(first: Map, step: Map) -> Map {
    return Map(product(first.x, step.x), take_step(step, first.y));
}

fn conjugate(x: Value) -> Value {
    return x;
}

// x times the conjugate of y.
fn times_conjugate(x: Value, y: Value) -> Value {
    return x * y;
}
