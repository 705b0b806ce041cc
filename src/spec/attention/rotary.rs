//! Specs of rotary embeddings.

use std::fmt;

use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// Rotary position embedding (Su et al. 2021): pairs of elements of a row are turned by angles that grow with its
/// position, so that a score depends on the distance of query and key alone.
///
/// At position `p`, pair `j` of `dim / 2` turns by `p · base^(-2j / dim)`. Elements from `dim` on stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Rotary {
    /// How many elements of a row are turned: an even number up to its width.
    pub dim: usize,
    /// Which elements make a pair.
    pub pairs: RotaryPairs,
    /// Positions of the tables of cosines and sines, (positions, `dim / 2`).
    pub positions: usize,
}

/// Which elements of a row are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum RotaryPairs {
    /// `j` and `j + dim / 2`, as in GPT-NeoX and Llama.
    Half,
    /// `2j` and `2j + 1`, as in the paper and in GPT-J.
    Interleaved,
}

impl Rotary {
    /// Turns the first `dim` elements, for positions below `positions`.
    pub fn new(dim: usize, pairs: RotaryPairs, positions: usize) -> Self {
        Self { dim, pairs, positions }
    }

    /// Shape of the tables.
    pub fn table_shape(&self) -> [usize; 2] {
        [self.positions, self.dim / 2]
    }

    /// The cosines and the sines of every position, computed in f64: angles of thousands of turns lose their fraction
    /// in f32.
    pub fn tables(&self, base: f64) -> (Vec<f32>, Vec<f32>) {
        let pairs = self.dim / 2;
        let angle = |i: usize| (i / pairs) as f64 * base.powf(-2.0 * (i % pairs) as f64 / self.dim as f64);
        let angles = (0..self.positions * pairs).map(angle);
        angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
    }

    /// Fails if rows of that width cannot be turned so.
    pub fn check(&self, width: usize) -> Result<(), SpecError> {
        let Self { dim, positions, .. } = *self;
        if dim == 0 || dim > width || !dim.is_multiple_of(2) {
            return Err(wrong("the rotary dim", &dim, format!("an even number from 2 to {width}")));
        }
        at_least_one(&[("the positions of the rotary tables", positions)])?;
        elements("a rotary table", &self.table_shape()).map(drop)
    }

    /// Fails if a sequence of `len` new rows from position `first` on leaves the tables.
    pub(crate) fn check_positions(&self, first: u32, len: usize) -> Result<(), SpecError> {
        let last = first as usize + len.max(1) - 1;
        if last < self.positions {
            return Ok(());
        }
        let expected = format!("below {}, the positions of the rotary tables", self.positions);
        Err(wrong("a rotary position", &last, expected))
    }
}

/// Rows turned by their positions: queries before they attend to a cache whose keys were turned when they were appended.
///
/// Tensors: `x` and `y` (batch, `len`, heads, `head_dim`) in `dtype`, cosines and sines as in [`Rotary`] in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RotateSpec {
    /// Storage of the rows; they are turned in f32.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Rows of a batch and head.
    pub len: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a row, 1 to 256.
    pub head_dim: usize,
    /// How they are turned.
    pub rotary: Rotary,
    /// Whether all rows of a batch stand at its first position, instead of one after another.
    pub in_place: bool,
}

impl RotateSpec {
    /// Rows of one batch stand one after another.
    pub fn new(
        dtype: DType,
        batch: usize,
        len: usize,
        heads: usize,
        head_dim: usize,
        rotary: Rotary,
    ) -> Self {
        Self { dtype, batch, len, heads, head_dim, rotary, in_place: false }
    }

    /// Rows of one batch all stand at its first position.
    #[must_use]
    pub fn in_place(self) -> Self {
        Self { in_place: true, ..self }
    }

    /// Shape of `x` and `y`.
    pub fn shape(&self) -> [usize; 4] {
        [self.batch, self.len, self.heads, self.head_dim]
    }

    /// Fails if a size is 0 or too large, or rows cannot be turned so.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[
            ("batch", self.batch),
            ("len", self.len),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
        ])?;
        super::check_dims(self.head_dim, self.head_dim)?;
        self.rotary.check(self.head_dim)?;
        elements("x", &self.shape()).map(drop)
    }
}

impl fmt::Display for Rotary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = match self.pairs {
            RotaryPairs::Half => "halves",
            RotaryPairs::Interleaved => "neighbours",
        };
        write!(f, "rotary {} in {pairs}", self.dim)
    }
}

impl fmt::Display for RotateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, len, heads, head_dim, rotary, in_place } = self;
        write!(f, "rotate {dtype} b {batch} s {len} h {heads} d {head_dim}, {rotary}")?;
        if *in_place { f.write_str(", all at one position") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_the_angles_of_every_position() {
        let (cos, sin) = Rotary::new(4, RotaryPairs::Half, 3).tables(100.0);
        // Pair 0 turns by 1 a position, pair 1 by 100^(-1/2) = 0.1.
        let angles = [0.0, 0.0, 1.0, 0.1, 2.0, 0.2_f64];
        for (i, angle) in angles.into_iter().enumerate() {
            assert!((f64::from(cos[i]) - angle.cos()).abs() < 1e-7, "{i}");
            assert!((f64::from(sin[i]) - angle.sin()).abs() < 1e-7, "{i}");
        }
    }

    #[test]
    fn impossible_rotations_are_refused() {
        let rotary = |dim, positions| Rotary::new(dim, RotaryPairs::Half, positions).check(64);
        assert_eq!(rotary(64, 1), Ok(()));
        for (dim, positions) in [(0, 9), (66, 9), (3, 9), (8, 0)] {
            assert!(rotary(dim, positions).is_err(), "{dim}, {positions}");
        }
        let error = Rotary::new(8, RotaryPairs::Half, 128).check_positions(126, 3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a rotary position is 128, expected below 128, the positions of the rotary tables"
        );
    }
}
