// CAP · tanh(score / CAP), as the built-in softcap.

const CAP: f32 = 50.0;

// What tanh takes off its argument, over the argument: Lambert's continued fraction, for arguments up to 0.6. The built-in
// tanh becomes NaN for large arguments on some drivers, and loses the last digits of small ones on others.
fn excess(x: f32) -> f32 {
    let square = x * x;
    return square * (square * 14.0 + 315.0) / (square * (square * 15.0 + 420.0) + 945.0);
}

// 1 - tanh for positive arguments, which is 0 from 10 on as far as f32 goes. A NaN, which `min` would lose, is known by its
// bits.
fn rest(x: f32) -> f32 {
    let is_nan = (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
    return select(2.0 / (exp(2.0 * min(x, 10.0)) + 1.0), x, is_nan);
}

fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    let x = abs(score / CAP);
    return select(sign(score) * CAP * (1.0 - rest(x)), score - score * excess(x), x < 0.6);
}

// 1 - tanh² = (1 - tanh) (1 + tanh), where nothing cancels that is not small.
fn score_mod_bwd(dscore_out: f32, score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    let rest = rest(abs(score / CAP));
    return dscore_out * rest * (2.0 - rest);
}
