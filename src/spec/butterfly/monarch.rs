//! The Monarch product.

use std::fmt;

use super::LinearSpec;
use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// A Monarch product `y = M x`: block-diagonal, permute, block-diagonal, permute (Dao et al. 2022).
///
/// `w1` of shape (k, q, p) holds `k` blocks of `q × p`, `w2` of shape (l, s, r) holds `l` blocks of `s × r`, and
/// `k q = l r`. With `z[qκ+j] = Σ_i w1[κ,j,i] x[κp+i]`, the result is `y[σl+λ] = Σ_ρ w2[λ,σ,ρ] z[ρl+λ]`.
///
/// Tensors: `x` (batch, k p), `w1`, `w2`, `y` (batch, l s), all in `dtype`. `z` stays in f32, except on matrix units, which
/// take f16: there `z` and its gradient are rounded to it, and infinite beyond 65,504.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MonarchSpec {
    /// Storage of every tensor; sums are f32.
    pub dtype: DType,
    /// Rows of `x`.
    pub batch: usize,
    /// Shape (k, q, p) of the first factor.
    pub w1: [usize; 3],
    /// Shape (l, s, r) of the second factor.
    pub w2: [usize; 3],
}

impl MonarchSpec {
    /// A product with factors of these shapes.
    pub fn new(dtype: DType, batch: usize, w1: [usize; 3], w2: [usize; 3]) -> Self {
        Self { dtype, batch, w1, w2 }
    }

    /// An n × n product with `blocks` square blocks in each factor; `n = blocks²`.
    pub fn square(dtype: DType, batch: usize, blocks: usize) -> Self {
        Self::new(dtype, batch, [blocks; 3], [blocks; 3])
    }

    /// Width of a row of `x`: k p.
    pub fn n_in(&self) -> usize {
        self.w1[0] * self.w1[2]
    }

    /// Width of the row between the factors: k q = l r.
    pub fn n_mid(&self) -> usize {
        self.w1[0] * self.w1[1]
    }

    /// Width of a row of `y`: l s.
    pub fn n_out(&self) -> usize {
        self.w2[0] * self.w2[1]
    }

    /// Bytes that must move at least: `x` and the factors in, `y` out.
    pub fn least_bytes(&self) -> u64 {
        ((self.batch * (self.n_in() + self.n_out()) + self.parameters()) * self.dtype.bytes()) as u64
    }

    /// Fails if a size is 0, the factors do not meet, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        let ([k, q, p], [l, s, r]) = (self.w1, self.w2);
        at_least_one(&[("batch", self.batch), ("k", k), ("q", q), ("p", p), ("l", l), ("s", s), ("r", r)])?;
        elements("w1", &self.w1)?;
        elements("w2", &self.w2)?;
        if k * q != l * r {
            return Err(wrong("k q", &(k * q), format!("l r = {l} × {r} = {}", l * r)));
        }
        elements("x", &[self.batch, self.n_in()])?;
        elements("the row between the factors", &[self.batch, self.n_mid()])?;
        elements("y", &[self.batch, self.n_out()]).map(drop)
    }
}

impl LinearSpec for MonarchSpec {
    fn batch(&self) -> usize {
        self.batch
    }

    fn in_features(&self) -> usize {
        self.n_in()
    }

    fn out_features(&self) -> usize {
        self.n_out()
    }

    fn has_bias(&self) -> bool {
        false
    }

    /// Those of the two factors.
    fn parameters(&self) -> usize {
        self.w1.iter().product::<usize>() + self.w2.iter().product::<usize>()
    }

    /// A multiply and an add for each parameter and row.
    fn flops(&self) -> f64 {
        2.0 * self.batch as f64 * self.parameters() as f64
    }
}

impl fmt::Display for MonarchSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, w1: [k, q, p], w2: [l, s, r] } = self;
        write!(f, "monarch {dtype} {batch} rows, ")?;
        if [k, q, p, l, s, r].iter().all(|size| *size == k) {
            write!(f, "n {} = {k}²", k * k)
        } else {
            write!(f, "w1 {k} × {q} × {p}, w2 {l} × {s} × {r}")
        }
    }
}
