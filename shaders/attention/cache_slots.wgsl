// The keys of a sequence lie in one slot.

// The key of the cache at a place, which counts the keys of all slots.
fn cache_key(place: u32) -> u32 {
    return place;
}
