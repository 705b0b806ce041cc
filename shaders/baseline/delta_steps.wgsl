// How the state of a step of the delta rule decays, and where what a head has for each step lies. The kernel declares GATED.

fn place_head(row: u32, t: u32) -> u32 {
    let head = row % params.channels / params.share;
    return row / params.channels * params.dt_batch + head * params.dt_head + t * params.dt_step;
}

fn decay_of(row: u32, t: u32) -> f32 {
    if (GATED) {
        return exp(g[place_head(row, t)]);
    }
    return 1.0;
}
