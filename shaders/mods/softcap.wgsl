// CAP · tanh(score / CAP), as the built-in softcap.

const CAP: f32 = 50.0;

// The built-in tanh becomes NaN for large arguments on some drivers.
fn bounded_tanh(x: f32) -> f32 {
    return tanh(clamp(x, -10.0, 10.0));
}

fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    return CAP * bounded_tanh(score / CAP);
}

fn score_mod_bwd(dscore_out: f32, score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    let capped = bounded_tanh(score / CAP);
    return dscore_out * (1.0 - capped * capped);
}
