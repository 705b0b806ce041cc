//! State-space duality: the recurrence of Mamba-2.

use std::fmt;

use super::Sequences;
use super::recurrence::{Decay, Recurrence};
use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// The selective recurrence of Mamba-2 (Dao and Gu 2024), in which a head decays by one number a step:
///
/// `S_t = exp(δ_t A) S_(t-1) + δ_t x_t ⊗ B_t`, `y_t = S_t C_t + D x_t`, `out_t = y_t silu(z_t)`
///
/// with `δ = clamp(softplus(dt + dt_bias))`, each part of which is optional.
///
/// Tensors: `x`, `z` and `out` of shape (batch, length, heads, `head_dim`), `dt` (batch, length, heads), `b` and `c`
/// (batch, length, groups, `state_dim`) in `dtype`; `a` and `dt_bias` (heads), `d` (heads) or (heads, `head_dim`), and
/// the states (sequences, heads, `head_dim`, `state_dim`) in f32. Consecutive heads share a group.
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SsdSpec {
    /// Storage of `x`, `dt`, `b`, `c`, `z` and `out`; states and what belongs to a head are f32.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Steps; 0 leaves the states as they are.
    pub length: usize,
    /// Heads of `x`.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Groups of heads that share `b` and `c`; divides the heads.
    pub groups: usize,
    /// Columns of a head's state.
    pub state_dim: usize,
    /// Steps that are computed as one matrix product, at most 256; planned where not given.
    pub chunk: Option<usize>,
    /// Whether an initial state is given.
    pub initial: bool,
    /// The factor with which `x` skips the recurrence.
    pub skip: Skip,
    /// Whether the result is gated by `z`.
    pub gated: bool,
    /// Whether a bias is added to `dt`.
    pub dt_bias: bool,
    /// Whether `dt` passes through a softplus, which is taken for linear above 20.
    pub dt_softplus: bool,
    /// Between which limits `δ` is kept.
    pub dt_limits: Option<[f32; 2]>,
    /// Where sequences begin and end.
    pub sequences: Sequences,
}

/// The factor `D` with which `x` skips the recurrence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Skip {
    /// `x` does not skip it.
    #[default]
    None,
    /// One a head.
    PerHead,
    /// One a channel.
    PerChannel,
}

/// The most steps of a chunk: what workgroup memory has room for beside the tiles.
pub(crate) const LONGEST_CHUNK: usize = 256;

impl SsdSpec {
    /// A recurrence over one sequence a batch, with one group of heads, from a state of 0.
    pub fn new(
        dtype: DType,
        batch: usize,
        length: usize,
        (heads, head_dim): (usize, usize),
        state_dim: usize,
    ) -> Self {
        Self {
            dtype,
            batch,
            length,
            heads,
            head_dim,
            groups: 1,
            state_dim,
            chunk: None,
            initial: false,
            skip: Skip::None,
            gated: false,
            dt_bias: false,
            dt_softplus: false,
            dt_limits: None,
            sequences: Sequences::Whole,
        }
    }

    /// Shares `b` and `c` within that many groups of heads.
    #[must_use]
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Computes that many steps as one matrix product.
    #[must_use]
    pub fn chunk(self, chunk: usize) -> Self {
        Self { chunk: Some(chunk), ..self }
    }

    /// Takes an initial state.
    #[must_use]
    pub fn initial(self) -> Self {
        Self { initial: true, ..self }
    }

    /// Adds `D x`.
    #[must_use]
    pub fn skip(self, skip: Skip) -> Self {
        Self { skip, ..self }
    }

    /// Gates the result by `silu(z)`.
    #[must_use]
    pub fn gated(self) -> Self {
        Self { gated: true, ..self }
    }

    /// Adds a bias to `dt`.
    #[must_use]
    pub fn dt_bias(self) -> Self {
        Self { dt_bias: true, ..self }
    }

    /// Passes `dt` through a softplus.
    #[must_use]
    pub fn dt_softplus(self) -> Self {
        Self { dt_softplus: true, ..self }
    }

    /// Keeps `δ` between limits.
    #[must_use]
    pub fn dt_limits(self, low: f32, high: f32) -> Self {
        Self { dt_limits: Some([low, high]), ..self }
    }

    /// Divides the steps into sequences.
    #[must_use]
    pub fn sequences(self, sequences: Sequences) -> Self {
        Self { sequences, ..self }
    }

    /// Steps of all batches.
    pub fn tokens(&self) -> usize {
        self.batch * self.length
    }

    /// Shape of `x`, `z` and `out`.
    pub fn x_shape(&self) -> [usize; 4] {
        [self.batch, self.length, self.heads, self.head_dim]
    }

    /// Shape of `dt`.
    pub fn dt_shape(&self) -> [usize; 3] {
        [self.batch, self.length, self.heads]
    }

    /// Shape of `b` and `c`.
    pub fn b_shape(&self) -> [usize; 4] {
        [self.batch, self.length, self.groups, self.state_dim]
    }

    /// Shape of `a` and `dt_bias`.
    pub fn head_shape(&self) -> [usize; 1] {
        [self.heads]
    }

    /// Shape of `d`, empty where there is none.
    pub fn d_shape(&self) -> Vec<usize> {
        match self.skip {
            Skip::None => vec![],
            Skip::PerHead => vec![self.heads],
            Skip::PerChannel => vec![self.heads, self.head_dim],
        }
    }

    /// Shape of the initial and final states.
    pub fn state_shape(&self) -> [usize; 4] {
        [self.sequences.states(self.batch), self.heads, self.head_dim, self.state_dim]
    }

    /// Floating-point operations of the recurrence itself: each step updates a state and reads it.
    pub fn flops(&self) -> f64 {
        5.0 * self.tokens() as f64 * (self.heads * self.head_dim * self.state_dim) as f64
    }

    /// Bytes that must move at least: every input and output once.
    pub fn least_bytes(&self) -> u64 {
        let wide = if self.gated { 3 } else { 2 } * self.heads * self.head_dim;
        let step = wide + self.heads + 2 * self.groups * self.state_dim;
        let states = if self.initial { 2 } else { 1 } * self.state_shape().iter().product::<usize>();
        (self.tokens() * step * self.dtype.bytes() + 4 * states) as u64
    }

    /// Fails if a size other than the length is 0, groups do not divide the heads, a chunk or a limit makes no sense,
    /// sequences do not fill the length, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[
            ("batch", self.batch),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
            ("groups", self.groups),
            ("state_dim", self.state_dim),
        ])?;
        if !self.heads.is_multiple_of(self.groups) {
            return Err(wrong("groups", &self.groups, format!("a divisor of the {} heads", self.heads)));
        }
        check_chunk(self.chunk, LONGEST_CHUNK)?;
        if let Some([low, high]) = self.dt_limits
            && (low.is_nan() || high.is_nan() || low > high)
        {
            return Err(wrong("the lower limit of dt", &low, format!("at most the upper, {high}")));
        }
        elements("x", &self.x_shape())?;
        elements("b", &self.b_shape())?;
        self.sequences.check(self.batch, self.length)?;
        elements("the states", &self.state_shape()).map(drop)
    }

    pub(crate) fn recurrence(&self) -> Recurrence {
        let Self { dt_bias: bias, dt_softplus: softplus, dt_limits: limits, .. } = *self;
        Recurrence {
            dtype: self.dtype,
            batch: self.batch,
            length: self.length,
            heads: self.heads,
            groups: self.groups,
            x_dim: self.head_dim,
            b_dim: self.state_dim,
            chunk: self.chunk,
            longest_chunk: LONGEST_CHUNK,
            skip: self.skip,
            gated: self.gated,
            decay: Decay::Dt { bias, softplus, limits },
            scale: 1.0,
            sequences: self.sequences.clone(),
        }
    }
}

pub(crate) fn check_chunk(chunk: Option<usize>, longest: usize) -> Result<(), SpecError> {
    match chunk {
        Some(chunk) if chunk == 0 || chunk > longest => {
            Err(wrong("chunk", &chunk, format!("1 to {longest}")))
        }
        _ => Ok(()),
    }
}

impl fmt::Display for SsdSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, length, heads, head_dim, groups, state_dim, .. } = self;
        write!(f, "ssd {dtype} {batch} × {length}, {heads} × {head_dim}, state {groups} × {state_dim}")?;
        if let Some(chunk) = self.chunk {
            write!(f, ", chunk {chunk}")?;
        }
        match self.skip {
            Skip::None => {}
            Skip::PerHead => f.write_str(", skip")?,
            Skip::PerChannel => f.write_str(", skip per channel")?,
        }
        let words = [
            (self.initial, ", initial state"),
            (self.gated, ", gated"),
            (self.dt_bias, ", dt bias"),
            (self.dt_softplus, ", softplus"),
        ];
        words.into_iter().filter(|(on, _)| *on).try_for_each(|(_, word)| f.write_str(word))?;
        if let Some([low, high]) = self.dt_limits {
            write!(f, ", dt in {low} to {high}")?;
        }
        self.sequences.describe(f, self.batch, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_make_no_sense_are_refused_with_numbers() {
        let spec = || SsdSpec::new(DType::F32, 1, 10, (6, 4), 8);
        let refused = |spec: SsdSpec| spec.check().unwrap_err().to_string();
        assert_eq!(refused(spec().groups(4)), "groups is 4, expected a divisor of the 6 heads");
        assert_eq!(refused(spec().groups(0)), "groups is 0, expected at least 1");
        assert_eq!(refused(spec().chunk(0)), "chunk is 0, expected 1 to 256");
        assert_eq!(refused(spec().chunk(257)), "chunk is 257, expected 1 to 256");
        assert_eq!(
            refused(spec().dt_limits(2.0, 1.0)),
            "the lower limit of dt is 2, expected at most the upper, 1"
        );
        assert!(refused(spec().dt_limits(f32::NAN, 1.0)).starts_with("the lower limit of dt is NaN"));
        assert!(refused(SsdSpec { batch: usize::MAX, ..spec() }).contains("too many elements"));
        assert!(SsdSpec { length: 0, ..spec() }.check().is_ok());
    }
}
