// How the kernels of a recurrence's gradients divide the memory between them: for each channel, state and step of a window
// of some steps the state after the step, what the channel adds to the gradients of b and c and, with four CELLS, to that of
// the decay; for each channel and step the gradient of the step's size, that before the gate and, with three SIZES, what the
// step adds to that of d; for each channel and state the states before the window and after it, the gradient that comes from
// behind, and that of the decay; and for each channel that of d and of the bias.

const CELLS: u32 = 3;
const SIZES: u32 = 2;

fn cell(row: u32, n: u32, t: u32) -> u32 {
    return (row * STATES + n) * params.window + t - params.first;
}

fn state(row: u32, n: u32, t: u32) -> u32 {
    return cell(row, n, t);
}

fn part_b(row: u32, n: u32, t: u32) -> u32 {
    return params.rows * STATES * params.window + cell(row, n, t);
}

fn part_c(row: u32, n: u32, t: u32) -> u32 {
    return 2u * params.rows * STATES * params.window + cell(row, n, t);
}

fn part_rate(row: u32, n: u32, t: u32) -> u32 {
    return 3u * params.rows * STATES * params.window + cell(row, n, t);
}

fn of_step(row: u32, t: u32) -> u32 {
    return CELLS * params.rows * STATES * params.window + row * params.window + t - params.first;
}

fn size_gradient(row: u32, t: u32) -> u32 {
    return of_step(row, t);
}

fn ungated_gradient(row: u32, t: u32) -> u32 {
    return params.rows * params.window + of_step(row, t);
}

fn skip_part(row: u32, t: u32) -> u32 {
    return 2u * params.rows * params.window + of_step(row, t);
}

fn of_state(row: u32, n: u32) -> u32 {
    return (CELLS * STATES + SIZES) * params.rows * params.window + row * STATES + n;
}

fn before(row: u32, n: u32) -> u32 {
    return of_state(row, n);
}

fn after(row: u32, n: u32) -> u32 {
    return params.rows * STATES + of_state(row, n);
}

fn from_behind(row: u32, n: u32) -> u32 {
    return 2u * params.rows * STATES + of_state(row, n);
}

fn rate_gradient(row: u32, n: u32) -> u32 {
    return 3u * params.rows * STATES + of_state(row, n);
}

fn skip_gradient(row: u32) -> u32 {
    return 4u * params.rows * STATES + of_state(0u, 0u) + row;
}

fn bias_gradient(row: u32) -> u32 {
    return params.rows + skip_gradient(row);
}
