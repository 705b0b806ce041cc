// No sinks.

const SINKS = false;

fn sink(head: u32) -> f32 {
    return HIDDEN;
}
