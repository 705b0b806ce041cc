//! Linear attention whose states decay.

use std::fmt;

use super::recurrence::{Decay, Recurrence};
use super::{LONGEST_CHUNK, Sequences, Skip, check_chunk};
use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// Linear attention with a decaying state:
///
/// `S_t = exp(g_t) S_(t-1) + v_t ⊗ k_t`, `o_t = scale S_t q_t`
///
/// Where the decay is one number for each head, it is the retention of `RetNet` (Sun et al. 2023); where it is one for
/// each head and step, that of Mamba-2 without its weights; where each element of a key has its own, and `exp(g_t)` scales
/// the columns of the state, the gated linear attention of Yang et al. (2024).
///
/// Tensors: `q` and `k` of shape (batch, length, heads, `key_dim`), `v` and `o` (batch, length, heads, `value_dim`) in
/// `dtype`; the logarithms of the decays `g`, at most 0 as a rule, (heads), (batch, length, heads) or like `k`, and the states
/// (sequences, heads, `value_dim`, `key_dim`) in f32.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LinearAttentionSpec {
    /// Storage of `q`, `k`, `v` and `o`; decays and states are f32.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Steps; 0 leaves the states as they are.
    pub length: usize,
    /// Heads.
    pub heads: usize,
    /// Elements of `q` and `k`.
    pub key_dim: usize,
    /// Elements of `v` and `o`.
    pub value_dim: usize,
    /// How often the decay changes.
    pub gate: Gate,
    /// Factor of the result; `1/sqrt(key_dim)` where not given.
    pub scale: Option<f32>,
    /// Steps that are computed as one matrix product, at most 256, or 64 where each element of a key has a gate; planned where
    /// not given.
    pub chunk: Option<usize>,
    /// Whether an initial state is given.
    pub initial: bool,
    /// Where sequences begin and end.
    pub sequences: Sequences,
}

/// How often the decay of linear attention changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Gate {
    /// Never: a head has one decay, as in `RetNet`.
    Constant,
    /// At every step of every head.
    PerStep,
    /// At every step of every head, and for each element of its keys.
    PerKey,
}

impl LinearAttentionSpec {
    /// Linear attention over one sequence a batch, from a state of 0.
    pub fn new(
        dtype: DType,
        batch: usize,
        length: usize,
        heads: usize,
        (key_dim, value_dim): (usize, usize),
        gate: Gate,
    ) -> Self {
        Self {
            dtype,
            batch,
            length,
            heads,
            key_dim,
            value_dim,
            gate,
            scale: None,
            chunk: None,
            initial: false,
            sequences: Sequences::Whole,
        }
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

    /// Shape of `g`.
    pub fn g_shape(&self) -> Vec<usize> {
        match self.gate {
            Gate::Constant => vec![self.heads],
            Gate::PerStep => vec![self.batch, self.length, self.heads],
            Gate::PerKey => self.q_shape().to_vec(),
        }
    }

    /// Shape of the initial and final states.
    pub fn state_shape(&self) -> [usize; 4] {
        [self.sequences.states(self.batch), self.heads, self.value_dim, self.key_dim]
    }

    /// Floating-point operations of the recurrence itself: each step updates a state and reads it.
    pub fn flops(&self) -> f64 {
        5.0 * (self.batch * self.length) as f64 * (self.heads * self.key_dim * self.value_dim) as f64
    }

    /// Bytes that must move at least: every input and output once.
    pub fn least_bytes(&self) -> u64 {
        let step = 2 * self.heads * (self.key_dim + self.value_dim) * self.dtype.bytes();
        let gates = self.g_shape().iter().product::<usize>();
        let states = if self.initial { 2 } else { 1 } * self.state_shape().iter().product::<usize>();
        (self.batch * self.length * step + 4 * (gates + states)) as u64
    }

    /// Fails if a size other than the length is 0, the chunk or the scale makes no sense, sequences do not fill the
    /// length, or a tensor has too many elements.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[
            ("batch", self.batch),
            ("heads", self.heads),
            ("key_dim", self.key_dim),
            ("value_dim", self.value_dim),
        ])?;
        check_chunk(self.chunk, self.longest_chunk())?;
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

    /// The scores of a chunk whose keys decay each on its own lie in workgroup memory.
    fn longest_chunk(&self) -> usize {
        if self.gate == Gate::PerKey { 64 } else { LONGEST_CHUNK }
    }

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
            longest_chunk: self.longest_chunk(),
            skip: Skip::None,
            gated: false,
            decay: match self.gate {
                Gate::PerKey => Decay::Keyed,
                gate => Decay::Given { constant: gate == Gate::Constant },
            },
            scale: self.scale_value(),
            sequences: self.sequences.clone(),
        }
    }
}

impl fmt::Display for LinearAttentionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, length, heads, key_dim, value_dim, gate, .. } = self;
        let name = match gate {
            Gate::Constant => "retention",
            Gate::PerStep => "gated linear attention",
            Gate::PerKey => "linear attention with gated keys",
        };
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
