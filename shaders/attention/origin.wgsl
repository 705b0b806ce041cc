// From where linear biases are counted: from the key at which a query stands, or from the first key if it stands before
// that. There every bias of a row has a part in common, which no weight depends on, and which may be so large that a score
// would keep few decimals beside it. Only log-sum-exps are told of it.

const FROM_FIRST: bool = true; // false where mods see scores, which are then whole

fn origin(sequence: Sequence, query: u32) -> i32 {
    let at = position(sequence, query);
    return select(at, max(at, 0), FROM_FIRST);
}

// Keys between a query's position and the origin: times the slope, what its scores have too much.
fn ahead(sequence: Sequence, query: u32) -> f32 {
    return f32(origin(sequence, query) - position(sequence, query));
}
