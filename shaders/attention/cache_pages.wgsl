// The keys of a sequence lie in pages of `params.page` keys, in the order of a table, which follows the sequences in the
// index (attention/cache_index).

// The key of the cache at a place, which counts the keys of the whole table.
fn cache_key(place: u32) -> u32 {
    let page = cache_index[2u * params.batch + place / params.page];
    return page * params.page + place % params.page;
}
