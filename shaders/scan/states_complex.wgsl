// Four complex states of a channel, and their arithmetic: a column of real parts and one of imaginary parts.
//
// A gradient is the derivative by the real part plus i times that by the imaginary part.

alias States = mat2x4<f32>;
alias Line = mat2x4<f32>; // one state over four steps

const PARTS: u32 = 2u; // numbers of a state
const ONES = States(vec4<f32>(1.0, 1.0, 1.0, 1.0), vec4<f32>());

fn times(x: States, y: States) -> States {
    return States(fma(x[0], y[0], -x[1] * y[1]), fma(x[0], y[1], x[1] * y[0]));
}

// x times the conjugate of y.
fn times_conjugate(x: States, y: States) -> States {
    return States(fma(x[0], y[0], x[1] * y[1]), fma(x[1], y[0], -x[0] * y[1]));
}

fn decay(a: States, delta: f32) -> States {
    let size = exp(a[0] * delta);
    let angle = a[1] * delta;
    return States(size * cosine(angle), size * sine(angle));
}

// WGSL promises little of sin and cos: 2^-11, and within half a turn alone. So an angle is brought to within an eighth of
// a turn (Cody and Waite 1980), and the rest is Taylor's.
struct Angle {
    quarter: vec4<i32>,
    rest: vec4<f32>,
}

fn reduce_angle(angle: vec4<f32>) -> Angle {
    let turns = round(angle * 0.63661977);
    // pi / 2 in three parts, the first of which are short: the products are exact.
    var rest = fma(turns, vec4<f32>(-1.5703125), angle);
    rest = fma(turns, vec4<f32>(-4.8375129699707e-4), rest);
    rest = fma(turns, vec4<f32>(-7.549789948768648e-8), rest);
    return Angle(vec4<i32>(turns), rest);
}

fn near_sine(x: vec4<f32>) -> vec4<f32> {
    let q = x * x;
    let tail = fma(q, fma(q, vec4<f32>(2.7557319e-6), vec4<f32>(-1.9841270e-4)), vec4<f32>(8.3333333e-3));
    return fma(x * q, fma(q, tail, vec4<f32>(-0.16666667)), x);
}

fn near_cosine(x: vec4<f32>) -> vec4<f32> {
    let q = x * x;
    let tail = fma(q, fma(q, vec4<f32>(2.4801587e-5), vec4<f32>(-1.3888889e-3)), vec4<f32>(4.1666667e-2));
    return fma(q, fma(q, tail, vec4<f32>(-0.5)), vec4<f32>(1.0));
}

fn sine(angle: vec4<f32>) -> vec4<f32> {
    let near = reduce_angle(angle);
    let value = select(near_sine(near.rest), near_cosine(near.rest), (near.quarter & vec4<i32>(1)) == vec4<i32>(1));
    return select(value, -value, (near.quarter & vec4<i32>(2)) == vec4<i32>(2));
}

fn cosine(angle: vec4<f32>) -> vec4<f32> {
    let near = reduce_angle(angle);
    let value = select(near_cosine(near.rest), near_sine(near.rest), (near.quarter & vec4<i32>(1)) == vec4<i32>(1));
    let quarter = near.quarter + vec4<i32>(1);
    return select(value, -value, (quarter & vec4<i32>(2)) == vec4<i32>(2));
}

// What states h give by coefficients c, and the gradient of each for that of the result.
fn read_out(c: States, h: States) -> f32 {
    return 2.0 * (dot(c[0], h[0]) - dot(c[1], h[1]));
}

fn read_out_slope(other: States) -> States {
    return States(2.0 * other[0], -2.0 * other[1]);
}

// How much a change of x along y changes its gradient's function: the real inner product.
fn inner(x: States, y: States) -> f32 {
    return dot(x[0], y[0]) + dot(x[1], y[1]);
}

fn states_from(parts: array<vec4<f32>, 2>) -> States {
    return States(parts[0], parts[1]);
}

fn part_of(x: States, part: u32) -> vec4<f32> {
    if (part == 0u) {
        return x[0];
    }
    return x[1];
}

// Eight numbers from memory: real and imaginary parts by turns.
fn line_from(first: vec4<f32>, second: vec4<f32>) -> Line {
    return Line(vec4<f32>(first.xz, second.xz), vec4<f32>(first.yw, second.yw));
}

// The four states at each of four steps.
fn states_across(lines: array<Line, 4>) -> array<States, 4> {
    let re = transpose(mat4x4<f32>(lines[0][0], lines[1][0], lines[2][0], lines[3][0]));
    let im = transpose(mat4x4<f32>(lines[0][1], lines[1][1], lines[2][1], lines[3][1]));
    return array<States, 4>(States(re[0], im[0]), States(re[1], im[1]), States(re[2], im[2]), States(re[3], im[3]));
}
