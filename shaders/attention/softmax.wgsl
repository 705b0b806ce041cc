// The online softmax of one row, by lanes that each know all of it or a part.

// So far.
struct Softmax {
    measure: f32, // what scores are measured against: the largest, or a little less
    total: f32,   // of the weights
}

// A sink is a score without a value. It is counted where `counted`, and beside scores that are counted from the origin.
fn begin_softmax(task: Task, row: u32, counted: bool) -> Softmax {
    if (SINKS && task.split == 0u) {
        let short = slope(task, row) * ahead(task.sequence, row_query(row));
        return Softmax(LOG2_E * (sink(row_head(task, row)) + short), select(0.0, 1.0, counted));
    }
    return Softmax(HIDDEN, 0.0);
}

// What scores are taken off. A row that has seen no key is measured against 0, from which hidden scores are as far as from
// any other.
fn base_of(measure: f32) -> f32 {
    return select(0.0, measure, is_seen(vec4<f32>(measure)).x);
}

fn store_softmax(task: Task, row: u32, softmax: Softmax) {
    if (row < row_count(task)) {
        let query = row_query(row);
        let at = sum_place(task, query, row_head(task, row));
        let log_sum = (softmax.measure + log2(softmax.total)) / LOG2_E;
        let whole = fma(-slope(task, row), ahead(task.sequence, query), log_sum);
        lse[task.split * params.rows + at] = select(whole, params.unseen, softmax.total == 0.0);
    }
}

// What dropout leaves of four weights.
fn kept(weights: vec4<f32>, task: Task, row: u32, key: u32) -> vec4<f32> {
    if (DROPOUT) {
        return select(vec4<f32>(), weights, keeps(task, row_head(task, row), row_query(row), key));
    }
    return weights;
}

// What output is multiplied by in the end. The largest score itself counts for something, unless nothing was seen. A NaN
// equals nothing and goes on.
fn output_factor(task: Task, softmax: Softmax) -> f32 {
    if (softmax.total == 0.0) {
        return 0.0;
    }
    return value_scale(task) * keep_factor() / softmax.total;
}
