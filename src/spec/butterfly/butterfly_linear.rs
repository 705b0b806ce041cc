//! The butterfly linear layer.

use std::f64::consts::TAU;
use std::fmt;

use crate::spec::{at_least_one, elements};
use crate::{ButterflySpec, DType, LinearSpec, SpecError};

/// A linear layer `y = x Bᵀ + bias` whose weight is a product of butterfly factors (Dao et al. 2019, 2020): `n log2 n`
/// numbers in place of `n²`.
///
/// Rows of `x` are padded to the next power of two `n`; as many products as make up the outputs stand side by side, all
/// of the same `x`, and what the last one gives too much is trimmed.
///
/// Tensors: `x` (batch, `in_features`), `twiddle` as the [product](Self::product) has it, `bias` (`out_features`), `y`
/// (batch, `out_features`), all in `dtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ButterflyLinearSpec {
    /// Storage of every tensor; sums are f32.
    pub dtype: DType,
    /// Rows of `x`.
    pub batch: usize,
    /// Width of a row of `x`.
    pub in_features: usize,
    /// Width of a row of `y`.
    pub out_features: usize,
    /// Butterflies one after the other, in alternating direction.
    pub nblocks: usize,
    /// The first block's strides grow.
    pub increasing_stride: bool,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ButterflyLinearSpec {
    /// A layer of one block, with a bias.
    pub fn new(dtype: DType, batch: usize, in_features: usize, out_features: usize) -> Self {
        Self { dtype, batch, in_features, out_features, nblocks: 1, increasing_stride: true, bias: true }
    }

    /// Several butterflies one after the other.
    #[must_use]
    pub fn nblocks(self, nblocks: usize) -> Self {
        Self { nblocks, ..self }
    }

    /// Strides that fall in the first block.
    #[must_use]
    pub fn decreasing_stride(self) -> Self {
        Self { increasing_stride: false, ..self }
    }

    /// No bias.
    #[must_use]
    pub fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    /// The product behind the layer: what it has of `x` and `y` is shared and trimmed in the layer.
    pub fn product(&self) -> ButterflySpec {
        let n = self.in_features.next_power_of_two().max(2);
        let product = ButterflySpec::new(self.dtype, self.batch, n).n_in(self.in_features);
        let product = product.nblocks(self.nblocks).nstacks(self.out_features.div_ceil(n));
        ButterflySpec { increasing_stride: self.increasing_stride, ..product }
    }

    /// Shape of `x`.
    pub fn x_shape(&self) -> [usize; 2] {
        [self.batch, self.in_features]
    }

    /// Shape of `y`.
    pub fn y_shape(&self) -> [usize; 2] {
        [self.batch, self.out_features]
    }

    /// Weights to begin with, `twiddle` and `bias`, repeatable by their seed: every 2 × 2 a rotation by an angle of its own,
    /// so that the product keeps lengths, and a bias as a dense layer has it, within `1 / √in_features` of 0.
    pub fn initial_weights(&self, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut inputs = crate::verify::Inputs::new(seed);
        let angles = inputs.uniform(self.product().parameters() / 4, 0.0, TAU);
        let rotation = |angle: f64| {
            let (sin, cos) = angle.sin_cos();
            [cos, -sin, sin, cos]
        };
        let side = (self.in_features as f64).powf(-0.5);
        let bias = inputs.uniform(if self.bias { self.out_features } else { 0 }, -side, side);
        (angles.into_iter().flat_map(rotation).collect(), bias)
    }

    /// Fails if a size is 0, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[
            ("batch", self.batch),
            ("in_features", self.in_features),
            ("out_features", self.out_features),
        ])?;
        elements("x", &self.x_shape())?;
        elements("y", &self.y_shape())?;
        self.product().check()
    }
}

impl LinearSpec for ButterflyLinearSpec {
    fn batch(&self) -> usize {
        self.batch
    }

    fn in_features(&self) -> usize {
        self.in_features
    }

    fn out_features(&self) -> usize {
        self.out_features
    }

    fn has_bias(&self) -> bool {
        self.bias
    }

    fn parameters(&self) -> usize {
        self.product().parameters() + if self.bias { self.out_features } else { 0 }
    }

    fn flops(&self) -> f64 {
        let bias = if self.bias { self.batch as f64 * self.out_features as f64 } else { 0.0 };
        self.product().flops() + bias
    }
}

impl fmt::Display for ButterflyLinearSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, in_features, out_features, nblocks, .. } = self;
        write!(f, "butterfly linear {dtype} {batch} rows, {in_features} → {out_features}")?;
        if *nblocks > 1 {
            write!(f, ", {nblocks} blocks")?;
        }
        let options = [(!self.increasing_stride, "decreasing stride"), (!self.bias, "no bias")];
        options.iter().filter(|(on, _)| *on).try_for_each(|(_, option)| write!(f, ", {option}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_operations_are_counted() {
        let spec = ButterflyLinearSpec::new(DType::F32, 10, 1024, 1024);
        assert_eq!(spec.parameters(), 2 * 1024 * 10 + 1024);
        assert_eq!(spec.dense_parameters(), 1024 * 1024 + 1024);
        assert!((spec.flops() - 10.0 * (2.0 * 20_480.0 + 1024.0)).abs() < 1e-6);
        assert!((spec.dense_flops() - 10.0 * (2.0 * 1024.0 * 1024.0 + 1024.0)).abs() < 1e-6);
        // 300 inputs take 512 nodes, 1030 outputs three products of them.
        let spec = ButterflyLinearSpec::new(DType::F32, 1, 300, 1030).without_bias();
        assert_eq!((spec.product().n, spec.product().nstacks), (512, 3));
        assert_eq!(spec.parameters(), 3 * 2 * 512 * 9);
    }

    #[test]
    fn initial_weights_are_rotations_and_repeat() {
        let spec = ButterflyLinearSpec::new(DType::F32, 1, 16, 40).nblocks(2);
        let (twiddle, bias) = spec.initial_weights(7);
        assert_eq!(twiddle.len(), spec.product().parameters());
        assert_eq!(bias.len(), 40);
        for matrix in twiddle.chunks_exact(4) {
            assert!((matrix[0] * matrix[3] - matrix[1] * matrix[2] - 1.0).abs() < 1e-12);
            assert!((matrix[0] * matrix[1] + matrix[2] * matrix[3]).abs() < 1e-12);
        }
        assert!(bias.iter().all(|b| b.abs() <= 0.25) && bias.iter().any(|b| b.abs() > 0.1));
        assert_eq!(spec.initial_weights(7), (twiddle.clone(), bias));
        assert_ne!(spec.initial_weights(8).0, twiddle);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_numbers() {
        let spec = ButterflyLinearSpec::new(DType::F32, 0, 4, 4);
        assert_eq!(spec.check().unwrap_err().to_string(), "batch is 0, expected at least 1");
        let spec = ButterflyLinearSpec::new(DType::F32, 1, 4, 0);
        assert_eq!(spec.check().unwrap_err().to_string(), "out_features is 0, expected at least 1");
        for (inputs, outputs) in [(usize::MAX, 1), (1, usize::MAX), (1 << 31, 4)] {
            let error = ButterflyLinearSpec::new(DType::F32, 1, inputs, outputs).check().unwrap_err();
            assert!(error.to_string().contains("has too many elements"), "{error}");
        }
    }
}
