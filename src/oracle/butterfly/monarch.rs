//! The Monarch product.

use crate::MonarchSpec;
use crate::oracle::Precision;

/// `y = M x` for each row of `x`, straight from the definition in [`MonarchSpec`]. The row between the factors is a
/// tensor of its own, as in a plain implementation of two batched products.
pub fn monarch(spec: &MonarchSpec, precision: Precision, x: &[f64], w1: &[f64], w2: &[f64]) -> Vec<f64> {
    let ([_, q, p], [l, s, r]) = (spec.w1, spec.w2);
    let mut y = Vec::with_capacity(spec.batch * spec.n_out());
    for row in x.chunks_exact(spec.n_in()) {
        let mut z = Vec::with_capacity(spec.n_mid());
        for u in 0..spec.n_mid() {
            let (block, j) = (u / q, u % q);
            let terms = (0..p).map(|i| (w1[(block * q + j) * p + i], row[block * p + i]));
            z.push(precision.store(precision.dot(terms)));
        }
        for v in 0..spec.n_out() {
            let (j, block) = (v / l, v % l);
            let terms = (0..r).map(|i| (w2[(block * s + j) * r + i], z[i * l + block]));
            y.push(precision.store(precision.dot(terms)));
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::DType;
    use crate::verify::Inputs;

    fn product(spec: &MonarchSpec, x: &[f64], w1: &[f64], w2: &[f64]) -> Vec<f64> {
        monarch(spec, Precision::Exact, x, w1, w2)
    }

    fn assert_close(ours: &[f64], expected: &[f64]) {
        assert_eq!(ours.len(), expected.len());
        for (i, (x, y)) in ours.iter().zip(expected).enumerate() {
            assert!((x - y).abs() < 1e-12, "{i}: {x} for {y}");
        }
    }

    #[test]
    fn by_hand() {
        // Two blocks of 1 × 2 give z = (1·10 + 2·20, 3·30 + 4·40); two of 2 × 1 spread it.
        let spec = MonarchSpec::new(DType::F32, 1, [2, 1, 2], [2, 2, 1]);
        let y = product(&spec, &[10.0, 20.0, 30.0, 40.0], &[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 5.0, 7.0]);
        assert_eq!(y, [50.0, 1250.0, 100.0, 1750.0]);
    }

    #[test]
    fn a_row_between_the_factors_is_read_with_stride_l() {
        // The first factor is the identity, the second sums what each of its two blocks reads of z = 1 … 6.
        let spec = MonarchSpec::new(DType::F32, 1, [6, 1, 1], [2, 1, 3]);
        let y = product(&spec, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0; 6], &[1.0; 6]);
        assert_eq!(y, [1.0 + 3.0 + 5.0, 2.0 + 4.0 + 6.0]);
    }

    /// With q = l and k = r the matrix is `M[σl+λ, κp+i] = w2[λ,σ,κ] w1[κ,λ,i]`: every block has rank 1.
    #[test]
    fn dense_matrix() {
        let (k, l, p, s) = (3, 4, 5, 2);
        let spec = MonarchSpec::new(DType::F32, 2, [k, l, p], [l, s, k]);
        let mut inputs = Inputs::new(1);
        let [x, w1, w2] = [2 * k * p, k * l * p, l * s * k].map(|count| inputs.normal(count, 1.0));
        let entry = |v: usize, c: usize| {
            let ((sigma, lambda), (kappa, i)) = ((v / l, v % l), (c / p, c % p));
            w2[(lambda * s + sigma) * k + kappa] * w1[(kappa * l + lambda) * p + i]
        };
        let dense: Vec<f64> = (0..2 * l * s)
            .map(|at| {
                let (row, v) = (at / (l * s), at % (l * s));
                (0..k * p).map(|c| entry(v, c) * x[row * k * p + c]).sum()
            })
            .collect();
        assert_close(&product(&spec, &x, &w1, &w2), &dense);
    }

    /// The discrete Fourier transform of n = s0 s1 points is a complex Monarch product of its permuted input: here as
    /// four real ones.
    #[test]
    fn fourier_transform() {
        let (s0, s1) = (3, 5);
        let n = s0 * s1;
        let spec = MonarchSpec::new(DType::F32, 1, [s0, s1, s1], [s1, s0, s0]);
        let x = Inputs::new(2).normal(n, 1.0);
        let permuted: Vec<f64> = (0..n).map(|u| x[(u % s1) * s0 + u / s1]).collect();
        // Turns of the unit circle for w1[block, j, i] and w2[block, j, i].
        let turns1 = |at: usize| ((at / s1) % s1 * (at % s1)) as f64 / s1 as f64;
        let turns2 = |at: usize| {
            let (block, j, i) = (at / (s0 * s0), (at / s0) % s0, at % s0);
            (j * i) as f64 / s0 as f64 + (block * i) as f64 / n as f64
        };
        let part = |count: usize, turns: &dyn Fn(usize) -> f64, part: fn(f64) -> f64| -> Vec<f64> {
            (0..count).map(|at| part(-TAU * turns(at))).collect()
        };
        let (re1, im1) = (part(s0 * s1 * s1, &turns1, f64::cos), part(s0 * s1 * s1, &turns1, f64::sin));
        let (re2, im2) = (part(s1 * s0 * s0, &turns2, f64::cos), part(s1 * s0 * s0, &turns2, f64::sin));
        let sum = |a: &[f64], b: &[f64], sign: f64| -> Vec<f64> {
            a.iter().zip(b).map(|(a, b)| a + sign * b).collect()
        };
        let apply = |w1: &[f64], w2: &[f64]| product(&spec, &permuted, w1, w2);
        let (re, im) = (
            sum(&apply(&re1, &re2), &apply(&im1, &im2), -1.0),
            sum(&apply(&re1, &im2), &apply(&im1, &re2), 1.0),
        );
        let transform = |part: fn(f64) -> f64| -> Vec<f64> {
            (0..n)
                .map(|f| (0..n).map(|t| x[t] * part(-TAU * ((f * t) % n) as f64 / n as f64)).sum())
                .collect()
        };
        assert_close(&re, &transform(f64::cos));
        assert_close(&im, &transform(f64::sin));
    }

    #[test]
    fn plain_precision_rounds_between_the_factors() {
        let spec = MonarchSpec::new(DType::F16, 1, [1, 1, 2], [1, 1, 1]);
        // 2049 is no f16: the plain result is 2048 · 2, the exact one 2049 · 2.
        let plain = monarch(&spec, Precision::Stored(DType::F16), &[2048.0, 1.0], &[1.0, 1.0], &[2.0]);
        assert_eq!(plain, [4096.0]);
        assert_eq!(product(&spec, &[2048.0, 1.0], &[1.0, 1.0], &[2.0]), [4098.0]);
    }
}
