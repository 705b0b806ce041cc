// Which keys a query sees by its position. Causal masks, windows and the end of the keys come to the same: a range of keys
// that moves with the query. Query i stands at key i + k_len - q_len; sums are arranged so that none overflows.

// Stands for the score of a key that is not seen. Finite, since compilers may assume that there are no infinities.
const HIDDEN = -3e38;

// The lowest score of a key that is seen: weights of 0 beside any other score, and apart from HIDDEN.
const LOWEST = -1e38;

// The key at which a query stands; it may lie before the first.
fn position(sequence: Sequence, query: u32) -> i32 {
    return i32(query) - i32(sequence.q_len) + i32(sequence.k_len);
}

// The first key that the query sees. It never falls from one query to the next.
fn first_key(sequence: Sequence, query: u32) -> u32 {
    return u32(max(position(sequence, query), params.left) - params.left);
}

// The key after the last that the query sees. It never falls from one query to the next.
fn end_key(sequence: Sequence, query: u32) -> u32 {
    let rest = i32(sequence.q_len) - 1 - i32(query);
    return u32(max(position(sequence, query) + min(params.right, rest) + 1, 0));
}

// The same from a key's side: queries and keys, left and right change places. The query that stands at a key:
fn opposite(sequence: Sequence, key: u32) -> i32 {
    return i32(key) - i32(sequence.k_len) + i32(sequence.q_len);
}

// The first query that sees the key. It never falls from one key to the next.
fn first_query(sequence: Sequence, key: u32) -> u32 {
    return u32(max(opposite(sequence, key), params.right) - params.right);
}

// The query after the last that sees the key. It never falls from one key to the next.
fn end_query(sequence: Sequence, key: u32) -> u32 {
    let rest = i32(sequence.k_len) - 1 - i32(key);
    return u32(max(opposite(sequence, key) + min(params.left, rest) + 1, 0));
}

// Which of four neighbouring keys the query sees.
fn sees(sequence: Sequence, query: u32, key: u32) -> vec4<bool> {
    let keys = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u);
    return (keys >= vec4<u32>(first_key(sequence, query))) & (keys < vec4<u32>(end_key(sequence, query)));
}
