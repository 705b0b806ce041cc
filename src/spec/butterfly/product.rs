//! The butterfly product.

use std::fmt;

use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// A product of butterfly factors `y = B x` (Dao et al. 2019, 2020), several of them with `nblocks > 1` (kaleidoscope).
///
/// A factor of stride `s` mixes pairs of nodes that are `s` apart, each pair by a 2 × 2 matrix of its own: for `t < s`,
/// `(y[2sβ+t], y[2sβ+s+t]) = T[βs+t] · (x[2sβ+t], x[2sβ+s+t])`. A block has `log2 n` factors; factor `i` has stride `2^i`
/// with `increasing_stride`, else `n / 2^(i+1)`, and the direction alternates from block to block. With `entry > 1` a node
/// holds that many elements and each entry of the 2 × 2 is a matrix of `entry × entry` (block butterfly).
///
/// Tensors: `x` (batch, nstacks, `n_in`), padded with zeros or trimmed to the width `n · entry`; `twiddle` (nstacks,
/// nblocks, log2 n, n/2, 2, 2), with two dimensions of `entry` more if it is above 1; `y` (batch, nstacks, n · entry); all
/// in `dtype`. Complex tensors have a last dimension of 2 more: real and imaginary parts, interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ButterflySpec {
    /// Storage of every tensor; sums are f32.
    pub dtype: DType,
    /// Rows of `x`.
    pub batch: usize,
    /// Products side by side, each with its own part of `x`, `twiddle` and `y`.
    pub nstacks: usize,
    /// Butterflies one after the other.
    pub nblocks: usize,
    /// Nodes, a power of two.
    pub n: usize,
    /// Elements of a row of `x`: those past `n · entry` are ignored, those missing are zero.
    pub n_in: usize,
    /// Rows and columns of an entry of a 2 × 2 matrix: 1, unless it is a block butterfly.
    pub entry: usize,
    /// Elements are complex.
    pub complex: bool,
    /// The first block's strides grow.
    pub increasing_stride: bool,
    /// `y = Bᵀ x` instead: blocks and factors in reverse, and each matrix transposed.
    pub transposed: bool,
}

impl ButterflySpec {
    /// A real product of one block, its strides falling.
    pub fn new(dtype: DType, batch: usize, n: usize) -> Self {
        Self {
            dtype,
            batch,
            nstacks: 1,
            nblocks: 1,
            n,
            n_in: n,
            entry: 1,
            complex: false,
            increasing_stride: false,
            transposed: false,
        }
    }

    /// Several products side by side.
    #[must_use]
    pub fn nstacks(self, nstacks: usize) -> Self {
        Self { nstacks, ..self }
    }

    /// Several butterflies one after the other.
    #[must_use]
    pub fn nblocks(self, nblocks: usize) -> Self {
        Self { nblocks, ..self }
    }

    /// Rows of `x` of another width than `y`'s.
    #[must_use]
    pub fn n_in(self, n_in: usize) -> Self {
        Self { n_in, ..self }
    }

    /// Entries of `entry × entry`; `x` is then as wide as `y`.
    #[must_use]
    pub fn entry(self, entry: usize) -> Self {
        Self { entry, n_in: self.n.saturating_mul(entry), ..self }
    }

    /// Complex elements.
    #[must_use]
    pub fn complex(self) -> Self {
        Self { complex: true, ..self }
    }

    /// Strides that grow in the first block.
    #[must_use]
    pub fn increasing_stride(self) -> Self {
        Self { increasing_stride: true, ..self }
    }

    /// The transpose of the product.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Factors of a block.
    pub fn log_n(&self) -> usize {
        self.n.ilog2() as usize
    }

    /// Factors in all.
    pub fn factors(&self) -> usize {
        self.nblocks * self.log_n()
    }

    /// log2 of the stride of each factor, in the order of `twiddle`.
    pub(crate) fn stride_bit(&self, factor: usize) -> usize {
        let (block, i) = (factor / self.log_n(), factor % self.log_n());
        if self.increasing_stride == block.is_multiple_of(2) { i } else { self.log_n() - 1 - i }
    }

    /// The factor that is applied at this place: the last comes first in a transpose.
    pub(crate) fn factor_at(&self, place: usize) -> usize {
        if self.transposed { self.factors() - 1 - place } else { place }
    }

    /// Elements of a row of `y`.
    pub fn width(&self) -> usize {
        self.n * self.entry
    }

    /// Numbers that an element takes.
    pub fn parts(&self) -> usize {
        if self.complex { 2 } else { 1 }
    }

    /// Numbers of one factor of one stack.
    pub(crate) fn factor_len(&self) -> usize {
        2 * self.n * self.entry * self.entry * self.parts()
    }

    /// Shape of `x`.
    pub fn x_shape(&self) -> Vec<usize> {
        self.with_parts(&[self.batch, self.nstacks, self.n_in])
    }

    /// Shape of `y`.
    pub fn y_shape(&self) -> Vec<usize> {
        self.with_parts(&[self.batch, self.nstacks, self.width()])
    }

    /// Shape of `twiddle`.
    pub fn twiddle_shape(&self) -> Vec<usize> {
        let mut shape = vec![self.nstacks, self.nblocks, self.log_n(), self.n / 2, 2, 2];
        if self.entry > 1 {
            shape.extend([self.entry, self.entry]);
        }
        self.with_parts(&shape)
    }

    fn with_parts(&self, shape: &[usize]) -> Vec<usize> {
        let parts = self.complex.then_some(2);
        shape.iter().copied().chain(parts).collect()
    }

    /// Trainable numbers.
    pub fn parameters(&self) -> usize {
        self.nstacks * self.factors() * self.factor_len()
    }

    /// Floating-point operations: a multiply and an add for each entry and row, four of each where they are complex.
    pub fn flops(&self) -> f64 {
        2.0 * self.parts() as f64 * self.batch as f64 * self.parameters() as f64
    }

    /// Bytes that must move at least: `x` and `twiddle` in, `y` out.
    pub fn least_bytes(&self) -> u64 {
        let rows = self.batch * self.nstacks * (self.n_in.min(self.width()) + self.width()) * self.parts();
        ((rows + self.parameters()) * self.dtype.bytes()) as u64
    }

    /// Fails if a size is 0, `n` is no power of two, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.n < 2 || !self.n.is_power_of_two() {
            return Err(wrong("n", &self.n, "a power of two, at least 2"));
        }
        at_least_one(&[
            ("batch", self.batch),
            ("nstacks", self.nstacks),
            ("nblocks", self.nblocks),
            ("entry", self.entry),
            ("n_in", self.n_in),
        ])?;
        elements("twiddle", &self.twiddle_shape())?;
        elements("x", &self.x_shape())?;
        // Only after the twiddle is n · entry known not to overflow.
        elements("y", &self.y_shape()).map(drop)
    }
}

impl fmt::Display for ButterflySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, nstacks, nblocks, n, n_in, entry, .. } = self;
        write!(f, "butterfly {dtype} {batch} rows, n {n}")?;
        if *entry > 1 {
            write!(f, " × {entry}")?;
        }
        if *n_in != self.width() {
            write!(f, " from {n_in}")?;
        }
        if *nblocks > 1 {
            write!(f, ", {nblocks} blocks")?;
        }
        if *nstacks > 1 {
            write!(f, ", {nstacks} stacks")?;
        }
        let options = [
            (self.complex, "complex"),
            (self.increasing_stride, "increasing stride"),
            (self.transposed, "transposed"),
        ];
        options.iter().filter(|(on, _)| *on).try_for_each(|(_, option)| write!(f, ", {option}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_alternate_from_block_to_block() {
        let bits = |spec: ButterflySpec| -> Vec<usize> {
            (0..spec.factors()).map(|factor| spec.stride_bit(factor)).collect()
        };
        let spec = ButterflySpec::new(DType::F32, 1, 8).nblocks(2);
        assert_eq!(bits(spec), [2, 1, 0, 0, 1, 2]);
        assert_eq!(bits(spec.increasing_stride()), [0, 1, 2, 2, 1, 0]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_numbers() {
        let good = ButterflySpec::new(DType::F32, 3, 8);
        assert_eq!(good.check(), Ok(()));
        let refused = |spec: ButterflySpec| spec.check().unwrap_err().to_string();
        for n in [0, 1, 3, 12, usize::MAX] {
            assert_eq!(
                refused(ButterflySpec { n, ..good }),
                format!("n is {n}, expected a power of two, at least 2")
            );
        }
        assert_eq!(refused(ButterflySpec { nblocks: 0, ..good }), "nblocks is 0, expected at least 1");
        assert_eq!(refused(ButterflySpec { n_in: 0, ..good }), "n_in is 0, expected at least 1");
        assert_eq!(refused(good.entry(0)), "entry is 0, expected at least 1");
        for huge in [
            ButterflySpec { n: 1 << 63, ..good },
            ButterflySpec { batch: usize::MAX, ..good },
            ButterflySpec { nblocks: usize::MAX, ..good },
            good.entry(usize::MAX),
            ButterflySpec { n_in: usize::MAX, ..good },
        ] {
            assert!(refused(huge).contains("has too many elements"), "{huge:?}");
        }
    }
}
