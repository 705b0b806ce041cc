// Sequences of different lengths, packed one after another, and a list of their tiles: none is for padding.

@group(0) @binding(0) var<storage, read> sequences: array<vec4<u32>>; // (batch): first query, queries, first key, keys; then (works): sequence, tile, 0, 0

fn find_sequence(batch: u32) -> Sequence {
    let found = sequences[batch];
    return Sequence(found.x, found.y, found.z, found.w, found.x);
}

fn find_work(index: u32) -> Work {
    let found = sequences[params.batch + index];
    return Work(found.x, found.y);
}
