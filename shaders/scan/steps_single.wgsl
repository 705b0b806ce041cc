// Steps that are a number each.

@group(0) @binding(0) var<storage, read> x: array<x_word>; // (rows, length)

// Steps from `end` on do nothing.
fn load_steps(row: u32, start: u32, end: u32) -> array<Map, ITEMS> {
    let values = x_values(start, end);
    var steps: array<Map, ITEMS>;
    for (var i = 0u; i < ITEMS; i++) {
        let n = turn(i);
        steps[i] = select(IDENTITY, values[n], start + n < end);
    }
    return steps;
}
