// From dot products to scores, in base 2: the host multiplies `scale` and `softcap` by log2(e), which makes exp2 of a
// score what exp would be of the natural one.

const SOFTCAP: bool = false;
const LOG2_E = 1.4426950408889634;

// The scores of four rows and four neighbouring keys, from their dot products. Those of keys that a row does not see are
// hidden; where every row sees every key, `whole` spares asking.
fn finish_scores(dots: mat4x4<f32>, task: Task, row: u32, key: u32, whole: bool) -> mat4x4<f32> {
    return mat4x4<f32>(
        finish_row(dots[0], task, row, key, whole),
        finish_row(dots[1], task, row + 1u, key, whole),
        finish_row(dots[2], task, row + 2u, key, whole),
        finish_row(dots[3], task, row + 3u, key, whole),
    );
}

fn finish_row(dots: vec4<f32>, task: Task, row: u32, key: u32, whole: bool) -> vec4<f32> {
    let query = row_query(row);
    let head = row_head(task, row);
    var scores = modify(built_in(dots, task, row, key), task, head, query, key);
    scores = select(max(scores, vec4<f32>(LOWEST)), scores, is_nan(scores));
    if (whole) {
        return scores;
    }
    return select(vec4<f32>(HIDDEN), scores, sees(task.sequence, query, key) & shows(task, head, query, key));
}

// Scores before the user's changes.
fn built_in(dots: vec4<f32>, task: Task, row: u32, key: u32) -> vec4<f32> {
    var scores = dots * (params.scale * key_scale(task));
    if (SOFTCAP) {
        scores = cap(scores);
    }
    if (ALIBI) {
        let slopes = vec4<f32>(LOG2_E * slope(task, row));
        scores = fma(-slopes, distances(origin(task.sequence, row_query(row)), key), scores);
    }
    return scores;
}

// From a position to four neighbouring keys.
fn distances(position: i32, key: u32) -> vec4<f32> {
    return vec4<f32>(abs(vec4<i32>(position - i32(key)) - vec4<i32>(0, 1, 2, 3)));
}

// Whether scores are those of keys that are seen.
fn is_seen(scores: vec4<f32>) -> vec4<bool> {
    return scores > vec4<f32>(0.5 * (HIDDEN + LOWEST));
}

// A NaN is not hidden: it goes on.
fn is_hidden(scores: vec4<f32>) -> vec4<bool> {
    return scores < vec4<f32>(0.5 * (HIDDEN + LOWEST));
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
    return select(select(far, near, x < vec4<f32>(0.6)), scores, is_nan(scores));
}
