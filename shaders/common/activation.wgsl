// Smooth functions of one number, without the overflow and the cancellation of their textbook forms.

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

// Linear above 20, as everywhere. Where the exponential is small, 1 plus it would lose its digits: a series keeps them.
fn softplus(x: f32) -> f32 {
    if (x > 20.0) {
        return x;
    }
    let e = exp(-abs(x));
    let series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0 - e * (0.25 - e * 0.2))));
    return max(x, 0.0) + select(log(1.0 + e), series, e < 0.03);
}

fn silu4(x: vec4<f32>) -> vec4<f32> {
    return x * vec4<f32>(sigmoid(x.x), sigmoid(x.y), sigmoid(x.z), sigmoid(x.w));
}
