// Maxima: what a scan keeps the largest of.

alias Map = f32;
alias Value = f32;

const LOWEST: f32 = -3.40282346e38; // the least number of the tensors' type: infinities are none that kernels count on
const IDENTITY = Map(LOWEST);
const START = Value(LOWEST); // what rows begin with where nothing is given

// `first`, then `second`.
fn compose(first: Map, second: Map) -> Map {
    return max(first, second);
}

fn apply(map: Map, state: Value) -> Value {
    return max(state, map);
}

fn take_step(step: Map, state: Value) -> Value {
    return max(state, step);
}

// `first`, then a single step.
fn compose_step(first: Map, step: Map) -> Map {
    return max(first, step);
}
