// A lane's share of a row: ITEMS consecutive steps of h_t = a_t h_(t-1) + b_t. The kernel declares ITEMS and the
// tensors a and b.

const_assert ITEMS % 4u == 0u;

// Steps from `end` on do nothing to the state.
fn load_steps(start: u32, end: u32) -> array<vec2<f32>, ITEMS> {
    var steps: array<vec2<f32>, ITEMS>;
    for (var i = 0u; i < ITEMS; i += 4u) {
        let a4 = a_load4(start + i, end);
        let b4 = b_load4(start + i, end);
        for (var n = 0u; n < 4u; n++) {
            steps[i + n] = vec2<f32>(select(1.0, a4[n], start + i + n < end), b4[n]);
        }
    }
    return steps;
}

// A single step's factor is the caller's own and has not overflown, which spares the check that `apply` makes.
fn take_step(step: vec2<f32>, state: f32) -> f32 {
    return fma(step.x, state, step.y);
}

fn compose_steps(steps: array<vec2<f32>, ITEMS>) -> vec2<f32> {
    var all = steps[0];
    for (var i = 1u; i < ITEMS; i++) {
        all = vec2<f32>(product(all.x, steps[i].x), take_step(steps[i], all.y));
    }
    return all;
}
