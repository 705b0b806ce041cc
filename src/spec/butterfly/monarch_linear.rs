//! The Monarch linear layer.

use std::fmt;

use super::{LinearSpec, MonarchSpec};
use crate::SpecError;
use crate::verify::Inputs;

/// A layer `y = M x + bias` whose weight is a Monarch product: tensors as in [`MonarchSpec`], and `bias` (l s) in its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MonarchLinearSpec {
    /// The product.
    pub product: MonarchSpec,
    /// Whether a bias is added.
    pub bias: bool,
}

/// Trainable numbers of a [`MonarchLinearSpec`] to begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct MonarchLinearWeights {
    /// The first factor.
    pub w1: Vec<f64>,
    /// The second.
    pub w2: Vec<f64>,
    /// The bias, if there is one.
    pub bias: Option<Vec<f64>>,
}

impl MonarchLinearSpec {
    /// A layer without a bias.
    pub fn new(product: MonarchSpec) -> Self {
        Self { product, bias: false }
    }

    /// Adds a bias.
    #[must_use]
    pub fn bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// What a layer begins with: uniform weights of which the first factor's keep the variance of a row, and the second's
    /// give it a dense layer's, as the bias does.
    pub fn initial_weights(&self, seed: u64) -> MonarchLinearWeights {
        let mut inputs = Inputs::new(seed);
        let mut within = |count: usize, side: f64| inputs.uniform(count, -side, side);
        let ([_, _, p], [_, _, r]) = (self.product.w1, self.product.w2);
        MonarchLinearWeights {
            w1: within(self.product.w1.iter().product(), (3.0 / p as f64).sqrt()),
            w2: within(self.product.w2.iter().product(), (r as f64).powf(-0.5)),
            bias: self.bias.then(|| within(self.product.n_out(), (self.product.n_in() as f64).powf(-0.5))),
        }
    }

    /// Fails if the product's spec does.
    pub fn check(&self) -> Result<(), SpecError> {
        self.product.check()
    }
}

impl LinearSpec for MonarchLinearSpec {
    fn batch(&self) -> usize {
        self.product.batch
    }

    fn in_features(&self) -> usize {
        self.product.n_in()
    }

    fn out_features(&self) -> usize {
        self.product.n_out()
    }

    fn has_bias(&self) -> bool {
        self.bias
    }

    fn parameters(&self) -> usize {
        self.product.parameters() + if self.bias { self.product.n_out() } else { 0 }
    }

    fn flops(&self) -> f64 {
        let bias = if self.bias { self.product.batch as f64 * self.product.n_out() as f64 } else { 0.0 };
        self.product.flops() + bias
    }
}

impl fmt::Display for MonarchLinearSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as a layer{}", self.product, if self.bias { ", bias" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    #[test]
    fn layers_report_what_they_save() {
        // n = 4096 in 64 blocks: 2 · 64³ parameters for 4096².
        let spec = MonarchLinearSpec::new(MonarchSpec::square(DType::F32, 10, 64));
        assert_eq!((spec.parameters(), spec.dense_parameters()), (524_288, 16_777_216));
        assert_eq!((spec.fewer_parameters(), spec.fewer_flops()), (32.0, 32.0));
        let biased = spec.bias();
        assert_eq!((biased.parameters(), biased.dense_parameters()), (528_384, 16_781_312));
        assert_eq!(vec![biased.flops()], [10.0 * (2.0 * 524_288.0 + 4096.0)]);
    }

    #[test]
    fn initial_weights_keep_the_variance_of_a_dense_layer() {
        let spec = MonarchLinearSpec::new(MonarchSpec::new(DType::F32, 1, [8, 16, 32], [16, 24, 8])).bias();
        let weights = spec.initial_weights(3);
        assert_eq!((weights.w1.len(), weights.w2.len()), (8 * 16 * 32, 16 * 24 * 8));
        let variance = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64;
        // A row keeps its variance; a dense layer of uniform weights leaves a third of it.
        assert!((32.0 * variance(&weights.w1) - 1.0).abs() < 0.05);
        assert!((8.0 * variance(&weights.w2) - 1.0 / 3.0).abs() < 0.03);
        assert_eq!(weights, spec.initial_weights(3));
        assert!(
            weights.bias.is_some_and(|bias| bias.len() == 384 && bias.iter().all(|x| x.abs() < 1.0 / 16.0))
        );
    }
}
