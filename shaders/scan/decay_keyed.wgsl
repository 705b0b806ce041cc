// Steps whose decays differ from key to key, and are other kernels' concern: here nothing decays.

fn take_step(at: u32, head: u32) -> Step {
    return Step(0.0, 1.0);
}
