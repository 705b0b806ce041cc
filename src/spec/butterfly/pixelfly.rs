//! The Pixelfly linear layer.

use std::fmt;

use super::{BlockPattern, LinearSpec};
use crate::spec::{at_least_one, elements, wrong};
use crate::verify::Inputs;
use crate::{DType, SpecError};

/// Which blocks a Pixelfly layer has, and the rank beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PixelflyConfig {
    /// Side of a block: 8, 16, 32 or 64.
    pub block: usize,
    /// Side of the butterfly matrix that the mask is stretched from, a power of two, at most the lesser of the layer's
    /// widths.
    pub butterfly_size: usize,
    /// Factors of it that the mask has, from stride 1 on; the identity is in it always.
    pub factors: usize,
    /// Rank of the dense product beside the sparse one.
    pub rank: usize,
    /// Rows of blocks at the top, and columns at the left, that are whole.
    pub global: usize,
}

impl PixelflyConfig {
    /// The published configurations, by name (Dao et al. 2022).
    pub const PUBLISHED: [(&'static str, Self); 2] =
        [("standard", Self::new(32, 16, 2, 32)), ("mixer-b", Self::new(32, 8, 2, 32))];

    /// A configuration without global rows and columns.
    pub const fn new(block: usize, butterfly_size: usize, factors: usize, rank: usize) -> Self {
        Self { block, butterfly_size, factors, rank, global: 0 }
    }

    /// The published configuration of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::PUBLISHED.iter().find(|(known, _)| *known == name).map(|(_, config)| *config)
    }

    /// With that many whole rows and columns of blocks.
    #[must_use]
    pub const fn global(self, global: usize) -> Self {
        Self { global, ..self }
    }

    /// The mask for a weight of (out, in) elements: the sum of the butterfly's factors, stretched to that size, and a
    /// block wherever it has an element.
    ///
    /// Fails if a size is 0 or too large, the block is of no side that kernels have, or the butterfly is no power of two,
    /// has fewer factors or is wider than the weight.
    pub fn mask(&self, size: [usize; 2]) -> Result<BlockPattern, SpecError> {
        let Self { block, butterfly_size, factors, global, .. } = *self;
        if !butterfly_size.is_power_of_two() {
            return Err(wrong("the size of the butterfly", &butterfly_size, "a power of two"));
        }
        let most = butterfly_size.ilog2() as usize;
        if factors > most {
            let expected = format!("at most {most}, of a butterfly of {butterfly_size}");
            return Err(wrong("the number of factors", &factors, expected));
        }
        at_least_one(&[("the side of a block", block), ("out features", size[0]), ("in features", size[1])])?;
        elements("the weight", &size)?;
        let least = size[0].min(size[1]);
        if butterfly_size > least {
            let expected = format!("at most {least}, the lesser of {} × {} features", size[0], size[1]);
            return Err(wrong("the size of the butterfly", &butterfly_size, expected));
        }
        let [rows, columns] = size.map(|size| size.div_ceil(block));
        // The rows or columns of the butterfly that a block of the stretched one touches.
        let touched = |at: usize, size: usize| {
            let last = ((at + 1) * block).min(size) - 1;
            at * block * butterfly_size / size..=last * butterfly_size / size
        };
        let meets = |row: usize, column: usize| {
            let apart = row ^ column;
            apart == 0 || apart.is_power_of_two() && (apart.ilog2() as usize) < factors
        };
        let mask: Vec<bool> = (0..rows * columns)
            .map(|at| {
                let (row, column) = (at / columns, at % columns);
                let whole = row < global || column < global;
                whole || touched(row, size[0]).any(|r| touched(column, size[1]).any(|c| meets(r, c)))
            })
            .collect();
        BlockPattern::new(block, [rows, columns], &mask)
    }
}

/// A Pixelfly layer `y = (1 - g) x Wᵀ + g (x U) V + bias` (Dao et al. 2022): `W` (out, in) is block-sparse, and the low
/// rank of `U V` stands for the rest of a dense weight.
///
/// Tensors: `x` (batch, in), `w` the mask's blocks, `u` (in, rank), `v` (rank, out), `bias` (out), `y` (batch, out), all in
/// `dtype`; the gate `g` (1) in f32 if it is learned, and a half if not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PixelflySpec {
    /// Storage of the tensors; sums are f32.
    pub dtype: DType,
    /// Rows of `x`.
    pub batch: usize,
    /// Where `W` has blocks.
    pub mask: BlockPattern,
    /// Rows and columns of `W`: out and in features.
    pub size: [usize; 2],
    /// Rank of `U V`.
    pub rank: usize,
    /// Whether the gate is learned.
    pub gate: bool,
    /// Whether a bias is added.
    pub bias: bool,
}

/// Trainable numbers of a [`PixelflySpec`] to begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelflyWeights {
    /// The blocks of `W`.
    pub w: Vec<f64>,
    /// The first factor of the low rank.
    pub u: Vec<f64>,
    /// The second.
    pub v: Vec<f64>,
    /// The gate, if it is learned.
    pub gate: Option<f64>,
    /// The bias, if there is one.
    pub bias: Option<Vec<f64>>,
}

impl PixelflySpec {
    /// A layer from `size` (out, in) of a configuration, with neither a bias nor a learned gate.
    pub fn new(
        dtype: DType,
        batch: usize,
        size: [usize; 2],
        config: &PixelflyConfig,
    ) -> Result<Self, SpecError> {
        Ok(Self { dtype, batch, mask: config.mask(size)?, size, rank: config.rank, gate: false, bias: false })
    }

    /// Learns the gate.
    #[must_use]
    pub fn gate(self) -> Self {
        Self { gate: true, ..self }
    }

    /// Adds a bias.
    #[must_use]
    pub fn bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Shape of `u`: (in, rank).
    pub fn u_shape(&self) -> [usize; 2] {
        [self.size[1], self.rank]
    }

    /// Shape of `v`: (rank, out).
    pub fn v_shape(&self) -> [usize; 2] {
        [self.rank, self.size[0]]
    }

    /// Bytes that must move at least: `x` and the weights in, `y` out.
    pub fn least_bytes(&self) -> u64 {
        let [out, r#in] = self.size;
        ((self.batch * (out + r#in) + self.parameters()) * self.dtype.bytes()) as u64
    }

    /// What a layer begins with: each weight uniform, as a dense layer's would be, within one over the root of its
    /// inputs. A row of blocks is scaled up by what it lacks, so that outputs keep the variance of a dense layer's.
    pub fn initial_weights(&self, seed: u64) -> PixelflyWeights {
        let mut inputs = Inputs::new(seed);
        let [out, r#in] = self.size;
        let mut within = |count: usize, inputs_of: usize| {
            let side = (inputs_of as f64).powf(-0.5);
            inputs.uniform(count, -side, side)
        };
        let mut w = within(self.mask.shape().iter().product(), r#in);
        let area = self.mask.side() * self.mask.side();
        for row in 0..self.mask.rows() {
            let blocks = self.mask.in_row(row);
            let scale = (self.mask.columns() as f64 / blocks.len().max(1) as f64).sqrt();
            for weight in &mut w[blocks.start * area..blocks.end * area] {
                *weight *= scale;
            }
        }
        PixelflyWeights {
            w,
            u: within(r#in * self.rank, r#in),
            v: within(self.rank * out, self.rank),
            gate: self.gate.then_some(0.5),
            bias: self.bias.then(|| within(out, r#in)),
        }
    }

    /// Fails if a size is 0 or not the mask's, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        let [out, r#in] = self.size;
        at_least_one(&[("batch", self.batch), ("rank", self.rank)])?;
        self.mask.check(self.size)?;
        elements("x", &[self.batch, r#in])?;
        elements("y", &[self.batch, out])?;
        elements("u", &self.u_shape())?;
        elements("v", &self.v_shape())?;
        elements("x U", &[self.batch, self.rank]).map(drop)
    }
}

impl LinearSpec for PixelflySpec {
    fn batch(&self) -> usize {
        self.batch
    }

    fn in_features(&self) -> usize {
        self.size[1]
    }

    fn out_features(&self) -> usize {
        self.size[0]
    }

    fn has_bias(&self) -> bool {
        self.bias
    }

    fn parameters(&self) -> usize {
        let [out, r#in] = self.size;
        let bias = if self.bias { out } else { 0 };
        self.mask.shape().iter().product::<usize>() + self.rank * (out + r#in) + usize::from(self.gate) + bias
    }

    fn flops(&self) -> f64 {
        let [out, r#in] = self.size;
        let products = self.mask.shape().iter().product::<usize>() + self.rank * (out + r#in);
        let bias = if self.bias { out } else { 0 };
        self.batch as f64 * (2.0 * products as f64 + bias as f64)
    }
}

impl fmt::Display for PixelflySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, mask, size: [out, r#in], rank, gate, bias } = self;
        write!(f, "pixelfly {dtype} {batch} rows, {in} to {out}, ")?;
        write!(f, "{} blocks of {}, rank {rank}", mask.blocks(), mask.side())?;
        write!(f, "{}{}", if *gate { ", gate" } else { "" }, if *bias { ", bias" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_by_hand() {
        // A butterfly of four with its first factor: two by two on the diagonal. Stretched to 64 × 128, an element is
        // 16 × 32 elements: blocks of 16.
        let mask = PixelflyConfig::new(16, 4, 1, 1).mask([64, 128]).unwrap();
        let rows: Vec<Vec<u32>> = (0..4)
            .map(|row| mask.places()[mask.in_row(row)].iter().map(|place| place[1]).collect())
            .collect();
        assert_eq!(rows, [vec![0, 1, 2, 3], vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![4, 5, 6, 7]]);
        // All factors: distances of one and two, not of three.
        let mask = PixelflyConfig::new(16, 4, 2, 1).mask([64, 64]).unwrap();
        assert_eq!(mask.blocks(), 12);
        assert!(!mask.places().contains(&[0, 3]) && !mask.places().contains(&[1, 2]));
        // Global rows and columns are whole.
        let mask = PixelflyConfig::new(16, 4, 0, 1).global(1).mask([64, 64]).unwrap();
        assert_eq!(mask.blocks(), 4 + 3 + 3);
        // Elements of 12 × 12 meet blocks of 8 half-way: one block more on either side of each corner.
        let mask = PixelflyConfig::new(8, 2, 0, 1).mask([24, 24]).unwrap();
        assert_eq!(mask.places(), [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2], [2, 1], [2, 2]]);
    }

    #[test]
    fn published_configurations_have_names() {
        let mixer = PixelflyConfig::named("mixer-b").unwrap();
        assert_eq!((mixer.block, mixer.butterfly_size, mixer.factors, mixer.rank), (32, 8, 2, 32));
        assert_eq!(PixelflyConfig::named("mixer-z"), None);
        let spec = PixelflySpec::new(DType::F32, 1, [3072, 768], &mixer).unwrap().gate().bias();
        // Three of eight in each row; 96 by 24 blocks of 1024, rank 32, gate and bias.
        assert_eq!(spec.parameters(), 96 * 24 * 1024 * 3 / 8 + 32 * (3072 + 768) + 1 + 3072);
        assert!(spec.fewer_parameters() > 2.0 && spec.fewer_flops() > 2.0);
    }

    #[test]
    fn rows_keep_the_variance_of_a_dense_layer() {
        let spec = PixelflySpec::new(DType::F32, 1, [256, 512], &PixelflyConfig::new(16, 16, 2, 4)).unwrap();
        let weights = spec.bias().initial_weights(7);
        let (area, side) = (256, 512_f64.powf(-0.5));
        let largest = weights.w.iter().fold(0.0, |max: f64, w| max.max(w.abs()));
        // Each row has 6 of 32 blocks.
        assert_eq!(weights.w.len(), 16 * 6 * area);
        let bound = side * (32.0_f64 / 6.0).sqrt();
        assert!(largest <= bound && largest > 0.99 * bound);
        assert!(weights.gate.is_none() && weights.bias.is_some_and(|bias| bias.len() == 256));
    }

    #[test]
    fn configurations_that_make_no_sense_are_refused_with_numbers() {
        let refused = |config: PixelflyConfig| config.mask([64, 64]).unwrap_err().to_string();
        assert_eq!(
            refused(PixelflyConfig::new(32, 12, 1, 1)),
            "the size of the butterfly is 12, expected a power of two"
        );
        for huge in [128, 1 << 63] {
            assert_eq!(
                refused(PixelflyConfig::new(32, huge, 2, 1)),
                format!(
                    "the size of the butterfly is {huge}, expected at most 64, the lesser of 64 × 64 features"
                )
            );
        }
        assert_eq!(
            refused(PixelflyConfig::new(32, 8, 4, 1)),
            "the number of factors is 4, expected at most 3, of a butterfly of 8"
        );
        assert_eq!(
            refused(PixelflyConfig::new(20, 8, 1, 1)),
            "the side of a block is 20, expected 8, 16, 32 or 64"
        );
        let spec = PixelflySpec::new(DType::F32, 1, [64, 64], &PixelflyConfig::new(32, 2, 1, 0)).unwrap();
        assert_eq!(spec.check().unwrap_err().to_string(), "rank is 0, expected at least 1");
    }
}
