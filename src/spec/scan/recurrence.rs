//! What state-space duality, linear attention and the delta rule have in common.

use super::{Sequences, Skip};
use crate::DType;

/// A recurrence of decaying outer products in the terms of its kernels: `S_t = decay_t S_(t-1) + weight_t x_t ⊗ b_t`,
/// `out_t = scale S_t c_t`, skipped and gated if asked for.
#[derive(Clone, Debug)]
pub(crate) struct Recurrence {
    pub dtype: DType,
    pub batch: usize,
    pub length: usize,
    pub heads: usize,
    /// Groups of heads that share `b` and `c`.
    pub groups: usize,
    /// Elements of `x`: rows of a state.
    pub x_dim: usize,
    /// Elements of `b` and `c`: columns of a state.
    pub b_dim: usize,
    pub chunk: Option<usize>,
    /// The longest chunk that may be planned.
    pub longest_chunk: usize,
    pub skip: Skip,
    pub gated: bool,
    pub decay: Decay,
    pub scale: f32,
    pub sequences: Sequences,
}

/// What a step's decay and weight are made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decay {
    /// A discretisation step, which is the weight, times a number of the head.
    Dt { bias: bool, softplus: bool, limits: Option<[f32; 2]> },
    /// Given by its logarithm, once for each head where constant; the weight is 1.
    Given { constant: bool },
    /// Given by its logarithm for each step and column of a state; the weight is 1.
    Keyed,
    /// The decay's logarithm, 0 without a gate, and the weight, both given. As pairs, a token is two steps: one decays
    /// the state, the next adds to it.
    Delta { gated: bool, pairs: bool },
}

impl Recurrence {
    pub fn tokens(&self) -> usize {
        self.batch * self.length
    }

    /// Cells of one head's state.
    pub fn cells(&self) -> usize {
        self.x_dim * self.b_dim
    }

    pub fn states(&self) -> usize {
        self.sequences.states(self.batch)
    }
}
