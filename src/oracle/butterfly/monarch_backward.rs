//! The gradients of the Monarch product.

use crate::MonarchSpec;
use crate::oracle::Precision;

/// Gradients of a Monarch product, of the shapes of what they belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct MonarchGradients {
    /// For `x`.
    pub dx: Vec<f64>,
    /// For the first factor.
    pub dw1: Vec<f64>,
    /// For the second factor.
    pub dw2: Vec<f64>,
}

/// The gradients for each input, given the gradient `dy` of the result: every product of the definition in
/// [`MonarchSpec`], differentiated. The row between the factors and its gradient are tensors of their own, as in a plain
/// implementation.
pub fn monarch_backward(
    spec: &MonarchSpec,
    precision: Precision,
    x: &[f64],
    w1: &[f64],
    w2: &[f64],
    dy: &[f64],
) -> MonarchGradients {
    let ([k, q, p], [l, s, r], batch) = (spec.w1, spec.w2, spec.batch);
    let (n_in, n_mid, n_out) = (spec.n_in(), spec.n_mid(), spec.n_out());
    let stored = |count: usize, value: &dyn Fn(usize) -> f64| -> Vec<f64> {
        (0..count).map(|at| precision.store(value(at))).collect()
    };
    let z = stored(batch * n_mid, &|at| {
        let (row, block, j) = (at / n_mid, at % n_mid / q, at % q);
        precision.dot((0..p).map(|i| (w1[(block * q + j) * p + i], x[row * n_in + block * p + i])))
    });
    let dz = stored(batch * n_mid, &|at| {
        let (row, i, block) = (at / n_mid, at % n_mid / l, at % l);
        precision.dot((0..s).map(|j| (w2[(block * s + j) * r + i], dy[row * n_out + j * l + block])))
    });
    let dx = stored(batch * n_in, &|at| {
        let (row, block, i) = (at / n_in, at % n_in / p, at % p);
        precision.dot((0..q).map(|j| (w1[(block * q + j) * p + i], dz[row * n_mid + block * q + j])))
    });
    let dw1 = stored(k * q * p, &|at| {
        let (block, j, i) = (at / (q * p), at / p % q, at % p);
        precision.dot((0..batch).map(|row| (dz[row * n_mid + block * q + j], x[row * n_in + block * p + i])))
    });
    let dw2 = stored(l * s * r, &|at| {
        let (block, j, i) = (at / (s * r), at / r % s, at % r);
        precision.dot((0..batch).map(|row| (dy[row * n_out + j * l + block], z[row * n_mid + i * l + block])))
    });
    MonarchGradients { dx, dw1, dw2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::oracle::monarch;
    use crate::verify::Inputs;

    #[test]
    fn by_hand() {
        // z = (2·3, 5·7), y = 11·6 + 13·35: one output of one block that reads both.
        let spec = MonarchSpec::new(DType::F32, 1, [2, 1, 1], [1, 1, 2]);
        let gradients =
            monarch_backward(&spec, Precision::Exact, &[3.0, 7.0], &[2.0, 5.0], &[11.0, 13.0], &[10.0]);
        assert_eq!(gradients.dw2, [60.0, 350.0]);
        assert_eq!(gradients.dw1, [330.0, 910.0]);
        assert_eq!(gradients.dx, [220.0, 650.0]);
    }

    /// The product is linear in each input, so that a difference of any size gives its derivative exactly.
    #[test]
    fn gradients_are_differences() {
        let spec = MonarchSpec::new(DType::F32, 3, [4, 3, 5], [6, 7, 2]);
        let mut inputs = Inputs::new(3);
        let [x, w1, w2, dy] = [3 * 20, 4 * 3 * 5, 6 * 7 * 2, 3 * 42].map(|count| inputs.normal(count, 1.0));
        let gradients = monarch_backward(&spec, Precision::Exact, &x, &w1, &w2, &dy);
        let loss = |x: &[f64], w1: &[f64], w2: &[f64]| -> f64 {
            monarch(&spec, Precision::Exact, x, w1, w2).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        let moved = |values: &[f64], at: usize| {
            let mut values = values.to_vec();
            values[at] += 1.0;
            values
        };
        let base = loss(&x, &w1, &w2);
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        };
        for at in 0..x.len() {
            close(gradients.dx[at], loss(&moved(&x, at), &w1, &w2) - base);
        }
        for at in 0..w1.len() {
            close(gradients.dw1[at], loss(&x, &moved(&w1, at), &w2) - base);
        }
        for at in 0..w2.len() {
            close(gradients.dw2[at], loss(&x, &w1, &moved(&w2, at)) - base);
        }
    }
}
