// Four real states of a channel, and their arithmetic.

alias States = vec4<f32>;
alias Line = vec4<f32>; // one state over four steps

const PARTS: u32 = 1u; // numbers of a state
const ONES = States(1.0, 1.0, 1.0, 1.0);

fn times(x: States, y: States) -> States {
    return x * y;
}

// x times the conjugate of y.
fn times_conjugate(x: States, y: States) -> States {
    return x * y;
}

fn decay(a: States, delta: f32) -> States {
    return exp(a * delta);
}

// What states h give by coefficients c, and the gradient of each for that of the result.
fn read_out(c: States, h: States) -> f32 {
    return dot(c, h);
}

fn read_out_slope(other: States) -> States {
    return other;
}

// How much a change of x along y changes its gradient's function: the real inner product.
fn inner(x: States, y: States) -> f32 {
    return dot(x, y);
}

fn states_from(parts: array<vec4<f32>, 2>) -> States {
    return parts[0];
}

fn part_of(x: States, part: u32) -> vec4<f32> {
    return x;
}

// Eight numbers from memory, of which a line of real states takes four.
fn line_from(first: vec4<f32>, second: vec4<f32>) -> Line {
    return first;
}

// The four states at each of four steps.
fn states_across(lines: array<Line, 4>) -> array<States, 4> {
    let steps = transpose(mat4x4<f32>(lines[0], lines[1], lines[2], lines[3]));
    return array<States, 4>(steps[0], steps[1], steps[2], steps[3]);
}
