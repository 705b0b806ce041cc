// From dot products to the gradients of four queries and four keys. Weights are computed anew from scores and their
// log-sum-exp, which is cheaper than having kept them.

struct Gradients {
    weights: mat4x4<f32>, // those of the values, without the factor of those that dropout keeps
    dots: mat4x4<f32>,    // gradients of the dot products, over the scale
    slopes: mat4x4<f32>,  // the four keys' part of what makes the gradient of each query's slope
}

// `values` are the products of the output's gradient with the values.
fn find_gradients(
    dots: mat4x4<f32>,
    values: mat4x4<f32>,
    task: Task,
    row: u32,
    key: u32,
    whole: bool,
) -> Gradients {
    let a = row_gradients(dots[0], values[0], task, row, key, whole);
    let b = row_gradients(dots[1], values[1], task, row + 1u, key, whole);
    let c = row_gradients(dots[2], values[2], task, row + 2u, key, whole);
    let d = row_gradients(dots[3], values[3], task, row + 3u, key, whole);
    return Gradients(
        mat4x4<f32>(a.weights, b.weights, c.weights, d.weights),
        mat4x4<f32>(a.dots, b.dots, c.dots, d.dots),
        mat4x4<f32>(a.slope, b.slope, c.slope, d.slope),
    );
}

struct RowGradients {
    weights: vec4<f32>,
    dots: vec4<f32>,
    slope: vec4<f32>,
}

fn row_gradients(
    dots: vec4<f32>,
    values: vec4<f32>,
    task: Task,
    row: u32,
    key: u32,
    whole: bool,
) -> RowGradients {
    let query = row_query(row);
    let head = row_head(task, row);
    let facts = row_facts(task, row);
    let scores = finish_row(dots, task, row, key, whole);
    var weights = exp2(scores - facts.x);
    var gradient = values;
    var kept = vec4<bool>(true);
    if (DROPOUT) {
        kept = keeps(task, head, query, key);
        gradient = select(vec4<f32>(), keep_factor() * gradient, kept);
    }
    gradient = weights * (gradient - facts.y);
    var unchanged = gradient;
    if (MODIFIED) {
        gradient = modify_backward(gradient, built_in(dots, task, row, key), task, head, query, key);
    }
    var slowed = vec4<f32>(1.0);
    if (SOFTCAP) {
        let tanh = cap(dots * params.scale) / params.softcap;
        slowed = 1.0 - tanh * tanh;
    }
    if (!whole) {
        // Whatever lies behind a hidden score stays there.
        gradient = select(gradient, vec4<f32>(), is_hidden(scores));
        weights = select(weights, vec4<f32>(), is_hidden(scores));
        slowed = select(slowed, vec4<f32>(), is_hidden(scores));
    }
    var found: RowGradients;
    found.weights = select(vec4<f32>(), weights, kept);
    if (ALIBI) {
        let far = distances(origin(task.sequence, query), key);
        var reach = weights;
        if (MODIFIED) {
            reach = modify_backward(reach, built_in(dots, task, row, key), task, head, query, key);
        }
        if (!whole) {
            unchanged = select(unchanged, vec4<f32>(), is_hidden(scores));
            reach = select(reach, vec4<f32>(), is_hidden(scores));
        }
        found.slope = vec4<f32>(-dot(gradient, far), dot(unchanged, vec4<f32>(1.0)), dot(reach, far), 0.0);
    }
    found.dots = gradient * slowed;
    return found;
}
