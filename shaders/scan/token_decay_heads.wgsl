// A step of scan/token whose state decays as one.

fn decay_of(record: u32, column: u32) -> f32 {
    return exp(bitcast<f32>(records[record * RECORD + 1u].x));
}
