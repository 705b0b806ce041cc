//! The kernels of S4D.

use crate::S4dParameters;
use crate::spec::{Complex, Discretization, S4dSpec};

/// `K_l = 2 Re Σ C B̄ Ā^l` of (channels, length), each power by itself.
pub fn s4d_kernel(spec: &S4dSpec, parameters: &S4dParameters) -> Vec<f64> {
    let length = spec.conv.length;
    let mut k = vec![0.0; spec.conv.channels * length];
    for mode in 0..spec.modes() {
        let (dt, a) = parameters.continuous(spec, mode);
        let (power, b): (Box<dyn Fn(usize) -> Complex>, _) = match spec.rule {
            Discretization::ZeroOrderHold => {
                (Box::new(move |l| a.scale(dt * l as f64).exp()), (a.scale(dt).exp() - Complex::ONE) / a)
            }
            Discretization::Bilinear => {
                let half = a.scale(dt / 2.0);
                let below = Complex::ONE - half;
                let step = (Complex::ONE + half) / below;
                let (size, angle) = (step.re.hypot(step.im), step.im.atan2(step.re));
                let power = move |l: usize| Complex { re: size.ln(), im: angle }.scale(l as f64).exp();
                (Box::new(power), Complex::ONE.scale(dt) / below)
            }
        };
        for l in 0..length {
            k[mode / spec.pairs * length + l] += 2.0 * (parameters.c(mode) * b * power(l)).re;
        }
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, LongConvSpec};

    /// A real pole is an exponential, and a purely imaginary rotation a cosine.
    #[test]
    fn decays_and_turns_by_hand() {
        let spec = S4dSpec::new(LongConvSpec::new(DType::F32, 1, 1, 3), 1);
        let decay = S4dParameters {
            log_dt: vec![2_f64.ln().ln()],
            log_a_re: vec![0.0],
            a_im: vec![0.0],
            c_re: vec![1.0],
            c_im: vec![0.0],
        };
        // exp(-δ) is a half, and B̄ is (1/2 - 1) / -1.
        for (found, expected) in s4d_kernel(&spec, &decay).into_iter().zip([1.0, 0.5, 0.25]) {
            assert!((found - expected).abs() < 1e-15);
        }
        // (1 - 1/2) / (1 + 1/2) is a third, and B̄ is 1 / (3/2).
        let steps = S4dParameters { log_dt: vec![0.0], ..decay };
        for (found, expected) in s4d_kernel(&spec.bilinear(), &steps).into_iter().zip([4.0 / 3.0, 4.0 / 9.0])
        {
            assert!((found - expected).abs() < 1e-15);
        }
    }
}
