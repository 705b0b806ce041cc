// Scores times a number.

const FACTOR: f32 = 2.0;

fn score_mod(score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    return FACTOR * score;
}

fn score_mod_bwd(dscore_out: f32, score: f32, b: u32, h: u32, i: u32, j: u32) -> f32 {
    return FACTOR * dscore_out;
}
