// Sequences of as many queries each, whose keys lie in a cache (attention/cache_index).

fn find_sequence(batch: u32) -> Sequence {
    let sums = batch * params.heads * params.q_len;
    return Sequence(
        batch * params.q_len,
        params.q_len,
        cache_index[2u * batch],
        cache_index[2u * batch + 1u],
        sums,
    );
}

// The last tile of a sequence comes first: under a causal mask it has the most keys to see.
fn find_work(index: u32) -> Work {
    return Work(index / params.tiles, params.tiles - 1u - index % params.tiles);
}
