// The states of a backward pass, which goes the other way, are the gradients of a scan's states: those of b, and times
// the state that a step took those of a.

@group(0) @binding(0) var<storage, read> h: array<h_word>; // (rows, length), the scan's states
@group(0) @binding(1) var<storage, read> initial: array<f32>; // (rows), those before them
@group(0) @binding(2) var<storage, read_write> da: array<da_word>; // (rows, length)
@group(0) @binding(3) var<storage, read_write> db: array<db_word>; // (rows, length)

const HAS_INITIAL: bool = true; // without, rows began with 0 and `initial` is not read

fn store_states(row: u32, start: u32, end: u32, states: array<f32, ITEMS>) {
    for (var i = 0u; i < ITEMS; i += 4u) {
        let four = vec4<f32>(states[i], states[i + 1u], states[i + 2u], states[i + 3u]);
        var taken: vec4<f32>;
        for (var n = 0u; n < 4u; n++) {
            if (start + i + n < end) {
                taken[n] = state_taken(row, start + i + n);
            }
        }
        da_store4(start + i, end, four * taken);
        db_store4(start + i, end, four);
    }
}

// The state that the step at a place took: the next in the order of the backward pass.
fn state_taken(row: u32, place: u32) -> f32 {
    if (REVERSE) {
        if (place > row) {
            return h_load(place - 1u);
        }
    } else if (place + 1u < row + params.length) {
        return h_load(place + 1u);
    }
    if (HAS_INITIAL) {
        return initial[row / params.length];
    }
    return 0.0;
}

// The gradient of the initial state: what the first step made of it.
fn row_result(row: u32, state: f32) -> f32 {
    return state * a_load(select(row + params.length - 1u, row, REVERSE));
}
