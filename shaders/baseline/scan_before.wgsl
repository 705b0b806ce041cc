// The state that a step of a linear scan took. The kernel declares h, `initial` and HAS_INITIAL.

fn state_before(row: u32, i: u32) -> f32 {
    if (i > row * params.length) {
        return h_load(i - 1u);
    }
    if (HAS_INITIAL) {
        return initial[row];
    }
    return 0.0;
}
