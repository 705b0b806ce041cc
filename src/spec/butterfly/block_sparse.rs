//! Products with block-sparse matrices.

use std::fmt;

use super::BlockPattern;
use crate::spec::{at_least_one, elements};
use crate::{DType, SpecError};

/// Which of `C = A B` is block-sparse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum BlockSparseMode {
    /// `A`: dense = sparse × dense.
    Dsd,
    /// `B`: dense = dense × sparse.
    Dds,
    /// `C`: sparse = dense × dense, computed where the mask has blocks.
    Sdd,
}

/// A product `C = A B` of which one matrix is block-sparse, after Triton's block-sparse products (Tillet et al.).
///
/// The sparse matrix has `size` (rows, columns) elements, of which the mask says the blocks; blocks may overhang it, and
/// what overhangs counts for nothing. As a tensor it is (blocks, side, side), block after block along the rows of blocks,
/// each row-major. Dense matrices are row-major. `A` and `B` are taken transposed where the spec says so; both are stored
/// as they are before that. `dense` is the size that the sparse matrix has no part in: rows of `C` in DDS, its columns
/// in DSD, the summed one in SDD.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockSparseSpec {
    /// Storage of every tensor; sums are f32.
    pub dtype: DType,
    /// Which matrix is sparse.
    pub mode: BlockSparseMode,
    /// Where it has blocks.
    pub mask: BlockPattern,
    /// Rows and columns of the sparse matrix as it is stored.
    pub size: [usize; 2],
    /// The size of the product that the sparse matrix has no part in.
    pub dense: usize,
    /// Whether `A` is taken transposed.
    pub a_transposed: bool,
    /// Whether `B` is taken transposed.
    pub b_transposed: bool,
}

impl BlockSparseSpec {
    /// A product with a sparse matrix of whole blocks, nothing transposed.
    pub fn new(dtype: DType, mode: BlockSparseMode, mask: BlockPattern, dense: usize) -> Self {
        let size = [mask.rows() * mask.side(), mask.columns() * mask.side()];
        Self { dtype, mode, mask, size, dense, a_transposed: false, b_transposed: false }
    }

    /// A sparse matrix of this size, which its last blocks may overhang.
    #[must_use]
    pub fn size(self, size: [usize; 2]) -> Self {
        Self { size, ..self }
    }

    /// Takes `A` transposed.
    #[must_use]
    pub fn a_transposed(self) -> Self {
        Self { a_transposed: true, ..self }
    }

    /// Takes `B` transposed.
    #[must_use]
    pub fn b_transposed(self) -> Self {
        Self { b_transposed: true, ..self }
    }

    /// Whether the sparse matrix is taken transposed.
    pub fn sparse_transposed(&self) -> bool {
        match self.mode {
            BlockSparseMode::Dsd => self.a_transposed,
            BlockSparseMode::Dds => self.b_transposed,
            BlockSparseMode::Sdd => false,
        }
    }

    /// Rows, columns and summed size of the product.
    fn sizes(&self) -> [usize; 3] {
        let [rows, columns] = if self.sparse_transposed() { [self.size[1], self.size[0]] } else { self.size };
        match self.mode {
            BlockSparseMode::Dsd => [rows, self.dense, columns],
            BlockSparseMode::Dds => [self.dense, columns, rows],
            BlockSparseMode::Sdd => [rows, columns, self.dense],
        }
    }

    /// Shape of the tensor for `A`.
    pub fn a_shape(&self) -> Vec<usize> {
        let [m, _, k] = self.sizes();
        match (self.mode, self.a_transposed) {
            (BlockSparseMode::Dsd, _) => self.mask.shape().to_vec(),
            (_, false) => vec![m, k],
            (_, true) => vec![k, m],
        }
    }

    /// Shape of the tensor for `B`.
    pub fn b_shape(&self) -> Vec<usize> {
        let [_, n, k] = self.sizes();
        match (self.mode, self.b_transposed) {
            (BlockSparseMode::Dds, _) => self.mask.shape().to_vec(),
            (_, false) => vec![k, n],
            (_, true) => vec![n, k],
        }
    }

    /// Shape of the tensor for `C`.
    pub fn c_shape(&self) -> Vec<usize> {
        let [m, n, _] = self.sizes();
        if self.mode == BlockSparseMode::Sdd { self.mask.shape().to_vec() } else { vec![m, n] }
    }

    /// Floating-point operations, a multiply and an add for each element of a block and each of the dense size.
    pub fn flops(&self) -> f64 {
        2.0 * self.dense as f64 * self.mask.shape().iter().product::<usize>() as f64
    }

    /// Bytes that must move at least: `A` and `B` in, `C` out.
    pub fn least_bytes(&self) -> u64 {
        let count = |shape: Vec<usize>| shape.iter().product::<usize>();
        ((count(self.a_shape()) + count(self.b_shape()) + count(self.c_shape())) * self.dtype.bytes()) as u64
    }

    /// Fails if a size is 0 or not the mask's, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[("the dense size", self.dense)])?;
        self.mask.check(self.size)?;
        elements("A", &self.a_shape())?;
        elements("B", &self.b_shape())?;
        elements("C", &self.c_shape()).map(drop)
    }
}

impl fmt::Display for BlockSparseSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, mode, mask, size: [rows, columns], dense, a_transposed, b_transposed } = self;
        let mode = match mode {
            BlockSparseMode::Dsd => "dsd",
            BlockSparseMode::Dds => "dds",
            BlockSparseMode::Sdd => "sdd",
        };
        let turned = |is: &bool, name: &'static str| if *is { name } else { "" };
        let (a, b) = (turned(a_transposed, ", Aᵀ"), turned(b_transposed, ", Bᵀ"));
        let (blocks, side) = (mask.blocks(), mask.side());
        write!(
            f,
            "block-sparse {dtype} {mode} {dense} by {rows} × {columns}, {blocks} blocks of {side}{a}{b}"
        )
    }
}

/// A softmax along the rows of a block-sparse matrix, of `scale` times its elements. What has no block counts as minus
/// infinity, and so does what overhangs the matrix, where the result is 0.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct BlockSoftmaxSpec {
    /// Storage of every tensor; sums are f32.
    pub dtype: DType,
    /// Where the matrix has blocks.
    pub mask: BlockPattern,
    /// Rows and columns of the matrix.
    pub size: [usize; 2],
    /// Factor of the elements.
    pub scale: f32,
}

impl BlockSoftmaxSpec {
    /// Of a matrix of whole blocks.
    pub fn new(dtype: DType, mask: BlockPattern) -> Self {
        let size = [mask.rows() * mask.side(), mask.columns() * mask.side()];
        Self { dtype, mask, size, scale: 1.0 }
    }

    /// Of a matrix of this size, which its last blocks may overhang.
    #[must_use]
    pub fn size(self, size: [usize; 2]) -> Self {
        Self { size, ..self }
    }

    /// Of that many times the elements.
    #[must_use]
    pub fn scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// Fails if the size is not the mask's or the scale is not a number.
    pub fn check(&self) -> Result<(), SpecError> {
        self.mask.check(self.size)?;
        if !self.scale.is_finite() {
            return Err(crate::spec::wrong("scale", &self.scale, "a finite number"));
        }
        Ok(())
    }
}

impl fmt::Display for BlockSoftmaxSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, mask, size: [rows, columns], scale } = self;
        let (blocks, side) = (mask.blocks(), mask.side());
        write!(f, "block softmax {dtype} {rows} × {columns}, {blocks} blocks of {side}, scale {scale}")
    }
}
