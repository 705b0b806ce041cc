// What a step of a recurrence does: it decays the state, and adds an outer product of that weight.

struct Step {
    log_decay: f32,
    weight: f32,
}
