// The states of the backward pass of a running maximum, which goes the other way, are the gradients of all maxima that a
// step may have set. It did if it is greater than all before it: of equal ones the first.

@group(0) @binding(0) var<storage, read> x: array<x_word>; // (rows, length)
@group(0) @binding(1) var<storage, read> initial: array<Value>; // (rows), the maxima before them
@group(0) @binding(2) var<storage, read_write> dx: array<dx_word>; // (rows, length)

const HAS_INITIAL: bool = true; // without, a row's first step sets the maximum and `initial` is not read

fn store_states(row: u32, start: u32, end: u32, states: array<Value, ITEMS>) {
    var gradients: array<Value, ITEMS>;
    for (var i = 0u; i < ITEMS; i++) {
        if (start + i < end && sets_maximum(row, start + i)) {
            gradients[i] = states[i];
        }
    }
    dx_keep(start, end, gradients);
}

fn sets_maximum(row: u32, place: u32) -> bool {
    // The place that is next in the order of the backward pass.
    let next = select(place + 1u, place - 1u, REVERSE);
    if (EXCLUSIVE) {
        return x_value(place) > y_value(place);
    }
    if (place != first_place(row)) {
        return x_value(place) > y_value(next);
    }
    if (HAS_INITIAL) {
        return x_value(place) > initial[row / params.length];
    }
    return true;
}

// Where the maxima began, which is where the backward pass ends.
fn first_place(row: u32) -> u32 {
    return select(row + params.length - 1u, row, REVERSE);
}

// The gradient of the initial maximum: an exclusive scan gave it too, an inclusive one what was left of it.
fn row_result(row: u32, state: Value) -> Value {
    return select(state, START, !EXCLUSIVE && sets_maximum(row, first_place(row)));
}
