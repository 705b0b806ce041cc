// A scan's states are its output.

@group(0) @binding(0) var<storage, read_write> h: array<h_word>; // (rows, length)

fn store_states(row: u32, start: u32, end: u32, states: array<Value, ITEMS>) {
    h_keep(start, end, states);
}

// What is left of a row when all its steps are taken.
fn row_result(row: u32, state: Value) -> Value {
    return state;
}
