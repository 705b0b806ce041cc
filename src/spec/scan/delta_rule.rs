//! The delta rule.

use std::fmt;

use super::recurrence::{Decay, Recurrence};
use super::{Sequences, Skip, check_chunk};
use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// The delta rule (Schlag et al. 2021; in chunks Yang et al. 2024, "Parallelizing linear transformers with the delta rule
/// over sequence length"), gated as in Gated `DeltaNet` (Yang et al. 2025) if asked for:
///
/// `S_t = exp(g_t) S_(t-1) (I - β_t k_t k_tᵀ) + β_t v_t k_tᵀ`, `o_t = scale S_t q_t`
///
/// so that a step does not add its value to what the state holds under its key, but moves that towards it, by the share
/// `β_t` of the difference. States stay bounded where `β_t |k_t|²` is between 0 and 2: keys are to be normalised.
///
/// Tensors: `q` and `k` of shape (batch, length, heads, `key_dim`), `v` and `o` (batch, length, heads, `value_dim`) in
/// `dtype`; the rates `beta` and the logarithms of the decays `g`, (batch, length, heads), and the states (sequences,
/// heads, `value_dim`, `key_dim`) in f32.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DeltaRuleSpec {
    /// Storage of `q`, `k`, `v` and `o`; rates, decays and states are f32.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Steps; 0 leaves the states as they are.
    pub length: usize,
    /// Heads.
    pub heads: usize,
    /// Elements of `q` and `k`, at most 512.
    pub key_dim: usize,
    /// Elements of `v` and `o`.
    pub value_dim: usize,
    /// Whether states decay.
    pub gated: bool,
    /// Factor of the result; `1/sqrt(key_dim)` where not given.
    pub scale: Option<f32>,
    /// Steps that are computed as one matrix product, at most 64; planned where not given.
    pub chunk: Option<usize>,
    /// Whether an initial state is given.
    pub initial: bool,
    /// Where sequences begin and end.
    pub sequences: Sequences,
}

/// The inverse of a chunk's matrix lies in workgroup memory.
const LONGEST_CHUNK: usize = 64;

/// A few rows of a state lie in workgroup memory.
const WIDEST_KEY: usize = 512;

impl DeltaRuleSpec {
    /// The delta rule over one sequence a batch, without decays and from a state of 0.
    pub fn new(
        dtype: DType,
        batch: usize,
        length: usize,
        heads: usize,
        (key_dim, value_dim): (usize, usize),
    ) -> Self {
        Self {
            dtype,
            batch,
            length,
            heads,
            key_dim,
            value_dim,
            gated: false,
            scale: None,
            chunk: None,
            initial: false,
            sequences: Sequences::Whole,
        }
    }

    /// Lets states decay.
    #[must_use]
    pub fn gated(self) -> Self {
        Self { gated: true, ..self }
    }

    /// Multiplies the result with that, instead of `1/sqrt(key_dim)`.
    #[must_use]
    pub fn scale(self, scale: f32) -> Self {
        Self { scale: Some(scale), ..self }
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

    /// Divides the steps into sequences.
    #[must_use]
    pub fn sequences(self, sequences: Sequences) -> Self {
        Self { sequences, ..self }
    }

    /// The factor of the result.
    pub fn scale_value(&self) -> f32 {
        self.scale.unwrap_or_else(|| (1.0 / (self.key_dim as f64).sqrt()) as f32)
    }

    /// Shape of `q` and `k`.
    pub fn q_shape(&self) -> [usize; 4] {
        [self.batch, self.length, self.heads, self.key_dim]
    }

    /// Shape of `v` and `o`.
    pub fn v_shape(&self) -> [usize; 4] {
        [self.batch, self.length, self.heads, self.value_dim]
    }

    /// Shape of `beta` and `g`.
    pub fn beta_shape(&self) -> [usize; 3] {
        [self.batch, self.length, self.heads]
    }

    /// Shape of the initial and final states.
    pub fn state_shape(&self) -> [usize; 4] {
        [self.sequences.states(self.batch), self.heads, self.value_dim, self.key_dim]
    }

    /// Floating-point operations of the recurrence itself: each step reads a state twice and updates it.
    pub fn flops(&self) -> f64 {
        7.0 * (self.batch * self.length) as f64 * (self.heads * self.key_dim * self.value_dim) as f64
    }

    /// Bytes that must move at least: every input and output once.
    pub fn least_bytes(&self) -> u64 {
        let rates = if self.gated { 2 } else { 1 } * 4;
        let step = self.heads * (2 * (self.key_dim + self.value_dim) * self.dtype.bytes() + rates);
        let states = if self.initial { 2 } else { 1 } * self.state_shape().iter().product::<usize>();
        (self.batch * self.length * step + 4 * states) as u64
    }

    /// Fails if a size other than the length is 0, keys are wider or chunks longer than kernels are made for, the scale
    /// makes no sense, sequences do not fill the length, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[
            ("batch", self.batch),
            ("heads", self.heads),
            ("key_dim", self.key_dim),
            ("value_dim", self.value_dim),
        ])?;
        if self.key_dim > WIDEST_KEY {
            return Err(wrong("key_dim", &self.key_dim, format!("1 to {WIDEST_KEY}")));
        }
        check_chunk(self.chunk, LONGEST_CHUNK)?;
        if let Some(scale) = self.scale
            && !scale.is_finite()
        {
            return Err(wrong("scale", &scale, "a finite number"));
        }
        elements("q", &self.q_shape())?;
        elements("v", &self.v_shape())?;
        self.sequences.check(self.batch, self.length)?;
        elements("the states", &self.state_shape()).map(drop)
    }

    /// The recurrence that is left when each value is replaced by what the state lacks of it.
    pub(crate) fn recurrence(&self) -> Recurrence {
        Recurrence {
            dtype: self.dtype,
            batch: self.batch,
            length: self.length,
            heads: self.heads,
            groups: self.heads,
            x_dim: self.value_dim,
            b_dim: self.key_dim,
            chunk: self.chunk,
            longest_chunk: LONGEST_CHUNK,
            skip: Skip::None,
            gated: false,
            decay: Decay::Delta { gated: self.gated, pairs: false },
            scale: self.scale_value(),
            sequences: self.sequences.clone(),
        }
    }

    /// The same with two steps for each token, all in f32: one that decays the state and reads it under the key, and one
    /// that adds to it and reads it under the query. Its gradients are those of a recurrence that reads once a step.
    pub(crate) fn pairs(&self, chunk: usize) -> Recurrence {
        Recurrence {
            dtype: DType::F32,
            length: 2 * self.length,
            chunk: Some(2 * chunk),
            longest_chunk: 2 * LONGEST_CHUNK,
            decay: Decay::Delta { gated: self.gated, pairs: true },
            scale: 1.0,
            sequences: self.sequences.doubled(),
            ..self.recurrence()
        }
    }
}

impl fmt::Display for DeltaRuleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, length, heads, key_dim, value_dim, gated, .. } = self;
        let name = if *gated { "gated delta rule" } else { "delta rule" };
        write!(f, "{name} {dtype} {batch} × {length}, {heads} × {key_dim} to {value_dim}")?;
        if let Some(chunk) = self.chunk {
            write!(f, ", chunk {chunk}")?;
        }
        if let Some(scale) = self.scale {
            write!(f, ", scale {scale}")?;
        }
        f.write_str(if self.initial { ", initial state" } else { "" })?;
        self.sequences.describe(f, self.batch, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_kernel_takes_are_refused_with_numbers() {
        let spec = || DeltaRuleSpec::new(DType::F32, 1, 9, 2, (8, 8));
        let refused = |spec: DeltaRuleSpec| spec.check().unwrap_err().to_string();
        assert_eq!(refused(spec().chunk(0)), "chunk is 0, expected 1 to 64");
        assert_eq!(refused(spec().chunk(65)), "chunk is 65, expected 1 to 64");
        assert_eq!(refused(DeltaRuleSpec { key_dim: 513, ..spec() }), "key_dim is 513, expected 1 to 512");
        assert_eq!(refused(DeltaRuleSpec { heads: 0, ..spec() }), "heads is 0, expected at least 1");
        assert_eq!(refused(spec().scale(f32::NAN)), "scale is NaN, expected a finite number");
        assert!(DeltaRuleSpec { length: 0, ..spec() }.check().is_ok());
    }
}
