// Smooth functions, without the overflow and the cancellation of their textbook forms.

// For large negative values the exponential is too large for f32, and its inverse 0 as it should be; a value that
// could make it infinite is kept out, since compilers may assume that there is none.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(min(-x, vec4<f32>(88.0))));
}

fn silu(x: vec4<f32>) -> vec4<f32> {
    return x * sigmoid(x);
}

fn silu_slope(x: vec4<f32>) -> vec4<f32> {
    let share = sigmoid(x);
    return share * fma(x, 1.0 - share, vec4<f32>(1.0));
}

// Linear above 20, as everywhere.
fn softplus(x: vec4<f32>) -> vec4<f32> {
    let sum = max(x, vec4<f32>()) + log_one_plus(exp(-abs(x)));
    return select(sum, x, x > vec4<f32>(20.0));
}

// log(1 + e) of 0 to 1, as 2 artanh(e / (2 + e)). The built-in logarithm is good to 2^-21 near 1, and adding 1 loses
// digits before that; the series is good to the last digits.
fn log_one_plus(e: vec4<f32>) -> vec4<f32> {
    let s = e / (2.0 + e);
    let square = s * s;
    var series = vec4<f32>(1.0 / 17.0);
    series = fma(series, square, vec4<f32>(1.0 / 15.0));
    series = fma(series, square, vec4<f32>(1.0 / 13.0));
    series = fma(series, square, vec4<f32>(1.0 / 11.0));
    series = fma(series, square, vec4<f32>(1.0 / 9.0));
    series = fma(series, square, vec4<f32>(1.0 / 7.0));
    series = fma(series, square, vec4<f32>(1.0 / 5.0));
    series = fma(series, square, vec4<f32>(1.0 / 3.0));
    return 2.0 * fma(s * square, series, s);
}
