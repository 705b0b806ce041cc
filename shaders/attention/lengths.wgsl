// The lengths of a sequence, for mods that ask.

fn q_len(batch: u32) -> u32 {
    return find_sequence(batch).q_len;
}

fn k_len(batch: u32) -> u32 {
    return find_sequence(batch).k_len;
}
