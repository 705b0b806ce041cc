// Steps of the backward pass of a running maximum: the gradient of a maximum goes back until the step that set it. Where
// the maximum is the same as at the step that this scan took before, it was not set anew between them, and what comes
// from there goes on.

@group(0) @binding(0) var<storage, read> y: array<y_word>; // (rows, length), the maxima
@group(0) @binding(1) var<storage, read> b: array<b_word>; // (rows, length), their gradients

// Steps from `end` on do nothing.
fn load_steps(row: u32, start: u32, end: u32) -> array<Map, ITEMS> {
    let maxima = y_values(start, end);
    let terms = b_values(start, end);
    var behind = y_behind(row, start, START);
    var steps: array<Map, ITEMS>;
    for (var i = 0u; i < ITEMS; i++) {
        let n = turn(i);
        let goes_on = maxima[n] == behind || start + n >= end;
        behind = maxima[n];
        steps[i] = Map(select(0.0, ONE, goes_on), terms[n]);
    }
    return steps;
}
