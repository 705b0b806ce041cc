//! The butterfly linear layer and its gradients.

use crate::ButterflyLinearSpec;
use crate::oracle::{Precision, butterfly, butterfly_backward};

/// Gradients of a butterfly linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ButterflyLinearGradients {
    /// Of `x`.
    pub dx: Vec<f64>,
    /// Of `twiddle`.
    pub dtwiddle: Vec<f64>,
    /// Of the bias, empty if there is none.
    pub dbias: Vec<f64>,
}

/// `y = x Bᵀ + bias`: each stack of the product gets the same `x`, and what they give stands side by side.
pub fn butterfly_linear(
    spec: &ButterflyLinearSpec,
    precision: Precision,
    x: &[f64],
    twiddle: &[f64],
    bias: Option<&[f64]>,
) -> Vec<f64> {
    let product = spec.product();
    let y = butterfly(&product, precision, &for_each_stack(spec, x), twiddle);
    let add = |(i, y): (usize, &f64)| match bias {
        Some(bias) => precision.store(precision.sum(y + bias[i])),
        None => *y,
    };
    y.chunks_exact(product.nstacks * product.n)
        .flat_map(|row| row[..spec.out_features].iter().enumerate().map(add))
        .collect()
}

/// The gradients of `x`, `twiddle` and the bias where `dy` is that of `y`.
pub fn butterfly_linear_backward(
    spec: &ButterflyLinearSpec,
    precision: Precision,
    x: &[f64],
    twiddle: &[f64],
    dy: &[f64],
) -> ButterflyLinearGradients {
    let product = spec.product();
    let spare = product.nstacks * product.n - spec.out_features;
    let rows = dy.chunks_exact(spec.out_features);
    let padded: Vec<f64> =
        rows.clone().flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, spare))).collect();
    let gradients = butterfly_backward(&product, precision, &for_each_stack(spec, x), twiddle, &padded);
    let sum = |terms: &mut dyn Iterator<Item = f64>| {
        precision.store(terms.fold(0.0, |sum, term| precision.sum(sum + term)))
    };
    let of_stacks = gradients.dx.chunks_exact(product.nstacks * spec.in_features);
    let dx = of_stacks.flat_map(|row| {
        (0..spec.in_features).map(move |i| sum(&mut row.iter().skip(i).step_by(spec.in_features).copied()))
    });
    let columns = 0..if spec.bias { spec.out_features } else { 0 };
    let dbias = columns.map(|i| sum(&mut rows.clone().map(|row| row[i]))).collect();
    ButterflyLinearGradients { dx: dx.collect(), dtwiddle: gradients.dtwiddle, dbias }
}

fn for_each_stack(spec: &ButterflyLinearSpec, x: &[f64]) -> Vec<f64> {
    let stacks = spec.product().nstacks;
    x.chunks_exact(spec.in_features).flat_map(|row| row.repeat(stacks)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn by_hand() {
        // Two inputs and three outputs: two products of two nodes, the second one's last result trimmed.
        let spec = ButterflyLinearSpec::new(DType::F32, 2, 2, 3);
        let twiddle = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let x = [1.0, 10.0, 2.0, 0.0];
        let y = butterfly_linear(&spec, Precision::Exact, &x, &twiddle, Some(&[0.5, 0.0, -1.0]));
        assert_eq!(y, [21.5, 43.0, 64.0, 2.5, 6.0, 9.0]);
        let dy = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0];
        let gradients = butterfly_linear_backward(&spec, Precision::Exact, &x, &twiddle, &dy);
        assert_eq!(gradients.dx, [1.0 + 10.0, 2.0 + 12.0, 3.0 + 5.0, 4.0 + 6.0]);
        assert_eq!(gradients.dtwiddle, [1.0, 10.0, 2.0, 0.0, 2.0 + 2.0, 20.0, 0.0, 0.0]);
        assert_eq!(gradients.dbias, [1.0, 1.0, 3.0]);
    }
}
