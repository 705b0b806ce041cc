//! The Monarch linear layer.

use crate::MonarchLinearSpec;
use crate::oracle::{Precision, monarch};

/// `y = M x + bias` for each row of `x`. The product is a tensor of its own, as in a plain implementation.
pub fn monarch_linear(
    spec: &MonarchLinearSpec,
    precision: Precision,
    [x, w1, w2]: [&[f64]; 3],
    bias: Option<&[f64]>,
) -> Vec<f64> {
    let product = monarch(&spec.product, precision, x, w1, w2);
    let Some(bias) = bias else { return product };
    let biased = product.iter().enumerate().map(|(at, y)| precision.store(y + bias[at % bias.len()]));
    biased.collect()
}

/// The gradient for the bias: the sum of the rows of `dy`.
pub fn bias_gradient(precision: Precision, width: usize, dy: &[f64]) -> Vec<f64> {
    let sum = |column| precision.dot(dy.iter().skip(column).step_by(width).map(|&dy| (dy, 1.0)));
    (0..width).map(|column| precision.store(sum(column))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, MonarchSpec};

    #[test]
    fn by_hand() {
        // y = (2·3, 5·7) + (100, 200) of one row, nothing permuted.
        let spec = MonarchLinearSpec::new(MonarchSpec::new(DType::F32, 1, [2, 1, 1], [2, 1, 1])).bias();
        let y = monarch_linear(
            &spec,
            Precision::Exact,
            [&[3.0, 7.0], &[2.0, 5.0], &[1.0, 1.0]],
            Some(&[100.0, 200.0]),
        );
        assert_eq!(y, [106.0, 235.0]);
        assert_eq!(bias_gradient(Precision::Exact, 2, &[1.0, 2.0, 10.0, 20.0, 100.0, 200.0]), [111.0, 222.0]);
    }
}
