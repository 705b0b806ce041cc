// Which keys a query sees. Causal masks, windows and the end of the keys come to the same: a range of keys that moves
// with the query. The kernel's params hold k_len, `keys_from` and `keys_to`, which the host has clamped so that nothing here
// overflows.

// Stands for the score of a key that is not seen. Finite, since compilers may assume that there are no infinities.
const HIDDEN = -3e38;

// The lowest score of a key that is seen: weights of 0 beside any other score, and apart from HIDDEN.
const LOWEST = -1e38;

// The first key that the query sees. It never falls from one query to the next.
fn first_key(query: u32) -> u32 {
    return u32(max(i32(query) + params.keys_from, 0));
}

// The key after the last that the query sees. It never falls from one query to the next.
fn end_key(query: u32) -> u32 {
    return u32(max(i32(query) + min(params.keys_to, i32(params.k_len) - i32(query)), 0));
}

// The scores of four neighbouring keys, those not seen hidden, and those from `end` on with them.
fn hide_unseen(scores: vec4<f32>, query: u32, key: u32, end: u32) -> vec4<f32> {
    let keys = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u);
    let seen = (keys >= vec4<u32>(first_key(query))) & (keys < vec4<u32>(min(end_key(query), end)));
    return select(vec4<f32>(HIDDEN), scores, seen);
}

// Whether a row has seen a key so far, by its largest score.
fn is_seen(largest: vec4<f32>) -> vec4<bool> {
    return largest > vec4<f32>(0.5 * (HIDDEN + LOWEST));
}

// Whether the query sees any of the keys from `first` to before `end`.
fn sees_any(query: u32, first: u32, end: u32) -> bool {
    return max(first_key(query), first) < min(end_key(query), end);
}
