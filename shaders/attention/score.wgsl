// From dot products to scores, in base 2: the host multiplies `scale` and `softcap` by log2(e), which makes exp2 of a
// score what exp would be of the natural one. The kernel's params hold q_len, k_len, scale and softcap.

const SOFTCAP: bool = false;
const ALIBI: bool = false;
const LOG2_E = 1.4426950408889634;

// The scores of one query and four neighbouring keys.
fn score(dots: vec4<f32>, query: u32, key: u32, slope: f32) -> vec4<f32> {
    var scores = dots * params.scale;
    if (SOFTCAP) {
        scores = cap(scores);
    }
    if (ALIBI) {
        let position = i32(query) - i32(params.q_len) + i32(params.k_len);
        let distance = abs(vec4<i32>(position - i32(key)) - vec4<i32>(0, 1, 2, 3));
        scores = fma(vec4<f32>(-slope), vec4<f32>(distance), scores);
    }
    // A comparison, where `max` would lose a NaN.
    return select(scores, vec4<f32>(LOWEST), scores < vec4<f32>(LOWEST));
}

// softcap · tanh(score / softcap). The built-in tanh becomes NaN for large arguments on some drivers, and loses the
// last digits of small ones on others.
fn cap(scores: vec4<f32>) -> vec4<f32> {
    let x = min(abs(scores / params.softcap), vec4<f32>(10.0));
    // Lambert's continued fraction, as what it takes off the score: the smaller that is, the less its own error counts.
    // Up to 0.6 the fraction errs by less than half a unit in the last place.
    let square = x * x;
    let excess = square * fma(square, vec4<f32>(14.0), vec4<f32>(315.0))
        / fma(square, fma(square, vec4<f32>(15.0), vec4<f32>(420.0)), vec4<f32>(945.0));
    let near = scores - scores * excess;
    let far = sign(scores) * params.softcap * (1.0 - 2.0 / (exp2(2.0 * LOG2_E * x) + 1.0));
    return select(far, near, x < vec4<f32>(0.6));
}
