//! The Pixelfly linear layer.

use crate::oracle::{Precision, block_sparse};
use crate::{BlockSparseMode, BlockSparseSpec, PixelflySpec};

/// Gradients of a Pixelfly layer, of the shapes of what they belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelflyGradients {
    /// For `x`.
    pub dx: Vec<f64>,
    /// For the blocks.
    pub dw: Vec<f64>,
    /// For the first factor of the low rank.
    pub du: Vec<f64>,
    /// For the second.
    pub dv: Vec<f64>,
    /// For the gate, learned or not.
    pub dgate: f64,
    /// For the bias, added or not.
    pub dbias: Vec<f64>,
}

/// What a layer computes from, apart from `x`.
#[derive(Clone, Copy, Debug)]
pub struct PixelflyOperands<'a> {
    /// The blocks.
    pub w: &'a [f64],
    /// The first factor of the low rank.
    pub u: &'a [f64],
    /// The second.
    pub v: &'a [f64],
    /// The gate, a half where it is not learned.
    pub gate: f64,
    /// The bias, if there is one.
    pub bias: Option<&'a [f64]>,
}

/// `Σ a[i] b[i]` over the summed size of a product of a (m, k) and b (k, n), either taken transposed.
fn product(
    precision: Precision,
    [m, n, k]: [usize; 3],
    (a, a_transposed): (&[f64], bool),
    (b, b_transposed): (&[f64], bool),
) -> Vec<f64> {
    let at = |row, i| a[if a_transposed { i * m + row } else { row * k + i }];
    let bt = |i, column| b[if b_transposed { column * k + i } else { i * n + column }];
    (0..m * n).map(|c| precision.dot((0..k).map(|i| (at(c / n, i), bt(i, c % n))))).collect()
}

fn sparse(spec: &PixelflySpec, mode: BlockSparseMode) -> BlockSparseSpec {
    BlockSparseSpec::new(spec.dtype, mode, spec.mask.clone(), spec.batch).size(spec.size)
}

fn stored(precision: Precision, values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|value| precision.store(value)).collect()
}

/// `y`, of two products that a plain implementation stores before it adds them.
pub fn pixelfly(
    spec: &PixelflySpec,
    precision: Precision,
    x: &[f64],
    given: &PixelflyOperands<'_>,
) -> Vec<f64> {
    let PixelflyOperands { w, u, v, gate, bias } = *given;
    let ([out, r#in], batch, rank) = (spec.size, spec.batch, spec.rank);
    let of_blocks = block_sparse(&sparse(spec, BlockSparseMode::Dds).b_transposed(), precision, x, w);
    let h = stored(precision, product(precision, [batch, rank, r#in], (x, false), (u, false)));
    let of_low = stored(precision, product(precision, [batch, out, rank], (&h, false), (v, false)));
    let mixed = of_blocks.iter().zip(&of_low).map(|(s, l)| (1.0 - gate) * s + gate * l);
    mixed.enumerate().map(|(at, y)| precision.store(y + bias.map_or(0.0, |bias| bias[at % out]))).collect()
}

/// The gradients for each input, given the gradient `dy` of the result.
pub fn pixelfly_backward(
    spec: &PixelflySpec,
    precision: Precision,
    x: &[f64],
    given: &PixelflyOperands<'_>,
    dy: &[f64],
) -> PixelflyGradients {
    let PixelflyOperands { w, u, v, gate, .. } = *given;
    let ([out, r#in], batch, rank) = (spec.size, spec.batch, spec.rank);
    let scaled = |values: Vec<f64>, scale: f64| -> Vec<f64> {
        values.into_iter().map(|value| precision.store(scale * value)).collect()
    };
    let of_blocks = block_sparse(&sparse(spec, BlockSparseMode::Dds).b_transposed(), precision, x, w);
    let h = stored(precision, product(precision, [batch, rank, r#in], (x, false), (u, false)));
    let of_low = stored(precision, product(precision, [batch, out, rank], (&h, false), (v, false)));
    let dh = stored(precision, product(precision, [batch, rank, out], (dy, false), (v, true)));
    let dx_blocks = block_sparse(&sparse(spec, BlockSparseMode::Dds), precision, dy, w);
    let dx_low = stored(precision, product(precision, [batch, r#in, rank], (&dh, false), (u, true)));
    let dx = dx_blocks.iter().zip(&dx_low).map(|(s, l)| precision.store((1.0 - gate) * s + gate * l));
    let dw = block_sparse(&sparse(spec, BlockSparseMode::Sdd).a_transposed(), precision, dy, x);
    let differences = of_low.iter().zip(&of_blocks).map(|(l, s)| l - s);
    PixelflyGradients {
        dx: dx.collect(),
        dw: scaled(dw, 1.0 - gate),
        du: scaled(product(precision, [r#in, rank, batch], (x, true), (&dh, false)), gate),
        dv: scaled(product(precision, [rank, out, batch], (&h, true), (dy, false)), gate),
        dgate: precision.dot(differences.zip(dy.iter().copied())),
        dbias: (0..out)
            .map(|column| precision.store(precision.dot((0..batch).map(|row| (dy[row * out + column], 1.0)))))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Inputs;
    use crate::{DType, PixelflyConfig};

    #[test]
    fn by_hand() {
        // One block of 8 × 8 for 1 output of 2 inputs: W = (3, 5), U = (7, 11), V = 2, a gate of a quarter.
        let spec = PixelflySpec::new(DType::F32, 1, [1, 2], &PixelflyConfig::new(8, 1, 0, 1)).unwrap();
        let mut w = vec![9.0; 64];
        (w[0], w[1]) = (3.0, 5.0);
        let given = PixelflyOperands { w: &w, u: &[7.0, 11.0], v: &[2.0], gate: 0.25, bias: Some(&[100.0]) };
        let x = [1.0, 10.0];
        // ¾ (3 + 50) + ¼ (7 + 110) 2 + 100.
        assert_eq!(pixelfly(&spec, Precision::Exact, &x, &given), [39.75 + 58.5 + 100.0]);
        let gradients = pixelfly_backward(&spec, Precision::Exact, &x, &given, &[4.0]);
        assert_eq!(gradients.dx, [0.75 * 12.0 + 0.25 * 56.0, 0.75 * 20.0 + 0.25 * 88.0]);
        assert_eq!(gradients.dw[..2], [3.0, 30.0]);
        assert_eq!((&gradients.du[..], &gradients.dv[..]), (&[2.0, 20.0][..], &[117.0][..]));
        assert_eq!((gradients.dgate, &gradients.dbias[..]), (4.0 * (234.0 - 53.0), &[4.0][..]));
    }

    /// The layer is linear in each input, so that a difference of any size gives its derivative exactly.
    #[test]
    fn gradients_are_differences() {
        let spec = PixelflySpec::new(DType::F32, 3, [21, 18], &PixelflyConfig::new(8, 2, 1, 5)).unwrap();
        let mut inputs = Inputs::new(5);
        let counts = [3 * 18, spec.mask.shape().iter().product(), 18 * 5, 5 * 21, 21, 3 * 21, 1];
        let [x, w, u, v, bias, dy, gate] = counts.map(|count| inputs.normal(count, 1.0));
        let of = |x: &[f64], w: &[f64], u: &[f64], v: &[f64], gate: &[f64], bias: &[f64]| -> f64 {
            let given = PixelflyOperands { w, u, v, gate: gate[0], bias: Some(bias) };
            pixelfly(&spec, Precision::Exact, x, &given).iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        let given = PixelflyOperands { w: &w, u: &u, v: &v, gate: gate[0], bias: Some(&bias) };
        let gradients = pixelfly_backward(&spec, Precision::Exact, &x, &given, &dy);
        let base = of(&x, &w, &u, &v, &gate, &bias);
        let check = |name: &str, values: &[f64], gradient: &[f64], loss: &dyn Fn(&[f64]) -> f64| {
            for at in 0..values.len() {
                let mut moved = values.to_vec();
                moved[at] += 1.0;
                let found = loss(&moved) - base;
                assert!((found - gradient[at]).abs() < 1e-8, "{name}[{at}]: {} for {found}", gradient[at]);
            }
        };
        check("x", &x, &gradients.dx, &|x| of(x, &w, &u, &v, &gate, &bias));
        check("w", &w, &gradients.dw, &|w| of(&x, w, &u, &v, &gate, &bias));
        check("u", &u, &gradients.du, &|u| of(&x, &w, u, &v, &gate, &bias));
        check("v", &v, &gradients.dv, &|v| of(&x, &w, &u, v, &gate, &bias));
        check("gate", &gate, &[gradients.dgate], &|gate| of(&x, &w, &u, &v, gate, &bias));
        check("bias", &bias, &gradients.dbias, &|bias| of(&x, &w, &u, &v, &gate, bias));
    }
}
