// Sums: what a scan adds up.

alias Map = f32;
alias Value = f32;

const IDENTITY = Map(0.0);
const START = Value(0.0); // what rows begin with where nothing is given

// `first`, then `second`.
fn compose(first: Map, second: Map) -> Map {
    return first + second;
}

fn apply(map: Map, state: Value) -> Value {
    return state + map;
}

fn take_step(step: Map, state: Value) -> Value {
    return state + step;
}

// `first`, then a single step.
fn compose_step(first: Map, step: Map) -> Map {
    return first + step;
}
