// Keys lie in pages of `params.page` keys, which a table puts in order.

@group(0) @binding(0) var<storage, read> pages: array<u32>; // (batch, max_pages)

// The key of the cache at a place, which counts the keys of the whole table.
fn cache_key(place: u32) -> u32 {
    return pages[place / params.page] * params.page + place % params.page;
}
