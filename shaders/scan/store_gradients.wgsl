// The states of a backward pass, which goes the other way, are the gradients of a scan's states: those of b, and times
// the conjugate of the state that a step took those of a.

@group(0) @binding(0) var<storage, read> h: array<h_word>; // (rows, length), the scan's states
@group(0) @binding(1) var<storage, read> initial: array<Value>; // (rows), those before them
@group(0) @binding(2) var<storage, read_write> da: array<da_word>; // (rows, length)
@group(0) @binding(3) var<storage, read_write> db: array<db_word>; // (rows, length)

const HAS_INITIAL: bool = true; // without, rows began with 0 and `initial` is not read

fn store_states(row: u32, start: u32, end: u32, states: array<Value, ITEMS>) {
    var products: array<Value, ITEMS>;
    for (var i = 0u; i < ITEMS; i++) {
        if (start + i < end) {
            products[i] = times_conjugate(states[i], state_taken(row, start + i));
        }
    }
    da_keep(start, end, products);
    db_keep(start, end, states);
}

// The state that the step at a place took: an exclusive scan gave it there, an inclusive one at the place that is next in
// the order of the backward pass.
fn state_taken(row: u32, place: u32) -> Value {
    if (EXCLUSIVE) {
        return h_value(place);
    }
    if (REVERSE) {
        if (place > row) {
            return h_value(place - 1u);
        }
    } else if (place + 1u < row + params.length) {
        return h_value(place + 1u);
    }
    if (HAS_INITIAL) {
        return initial[row / params.length];
    }
    return START;
}

// The gradient of the initial state: an exclusive scan gave it too, an inclusive one what the first step made of it.
fn row_result(row: u32, state: Value) -> Value {
    if (EXCLUSIVE) {
        return state;
    }
    return times_conjugate(state, a_value(select(row + params.length - 1u, row, REVERSE)));
}
