// Steps of h_t = a_t h_(t-1) + b_t.

const BACKWARD: bool = false; // the factors are conjugated, as gradients need them
const BEHIND: bool = false; // a step's factor is that of the step before it, as gradients of a step's own state need it

@group(0) @binding(0) var<storage, read> a: array<a_word>; // (rows, length)
@group(0) @binding(1) var<storage, read> b: array<b_word>; // (rows, length)

// Steps from `end` on do nothing to the state.
fn load_steps(row: u32, start: u32, end: u32) -> array<Map, ITEMS> {
    let factors = a_values(start, end);
    let terms = b_values(start, end);
    var behind = ONE;
    if (BEHIND) {
        behind = a_behind(row, start, ONE);
    }
    var steps: array<Map, ITEMS>;
    for (var i = 0u; i < ITEMS; i++) {
        let n = turn(i);
        var factor = factors[n];
        if (BEHIND) {
            factor = behind;
            behind = factors[n];
        }
        if (BACKWARD) {
            factor = conjugate(factor);
        }
        steps[i] = Map(select(ONE, factor, start + n < end), terms[n]);
    }
    return steps;
}
