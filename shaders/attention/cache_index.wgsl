// Where the sequences of a batch lie in a cache of keys and values.

@group(0) @binding(0) var<storage, read> cache_index: array<u32>; // (batch): first key, keys; then the pages (batch, max_pages)
