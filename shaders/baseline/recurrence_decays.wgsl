// What a step of linear attention is: how fast its states decay, whose logarithms are given. Takes the place of
// `recurrence_steps`; what is called the size of a step is such a logarithm, where a head has one for each.

const CONSTANT: bool = true; // a head has one decay, which lies in `packed`; `dt` is not read
const KEYED: bool = false; // each state has its own at every step

fn place_decay(row: u32, t: u32) -> u32 {
    let head = row % params.channels / params.share;
    return row / params.channels * params.dt_batch + head * params.dt_head + t * params.dt_step;
}

fn step_size(row: u32, t: u32) -> f32 {
    if (CONSTANT || KEYED) {
        return 0.0;
    }
    return dt_load(place_decay(row, t));
}

fn weight(size: f32) -> f32 {
    return 1.0;
}

fn decay(row: u32, n: u32, t: u32, size: f32) -> f32 {
    if (CONSTANT) {
        return exp(packed[row % params.channels / params.share]);
    }
    if (KEYED) {
        return exp(dt_load(place_decay(row, t) + n));
    }
    return exp(size);
}

fn size_part(row: u32, n: u32, of_weight: f32, of_log: f32) -> f32 {
    return of_log;
}

fn rate_part(size: f32, of_log: f32) -> f32 {
    return of_log;
}

fn size_slope(row: u32, t: u32) -> f32 {
    return 1.0;
}
