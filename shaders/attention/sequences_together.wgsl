// Sequences of different lengths and their tiles, as in attention/sequences_listed, where the table lies with the buffers of
// mods: `sequence_word` reads it.

fn find_sequence(batch: u32) -> Sequence {
    let at = 4u * batch;
    let first = sequence_word(at);
    return Sequence(first, sequence_word(at + 1u), sequence_word(at + 2u), sequence_word(at + 3u), first);
}

fn find_work(index: u32) -> Work {
    let at = 4u * (params.batch + index);
    return Work(sequence_word(at), sequence_word(at + 1u));
}
