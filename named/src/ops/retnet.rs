//! `retnet`.

use clap::Args;
use tilewise::Gate;

use super::linear_attention::{self, Given};
use super::{FromFile, FromSizes, Operation};
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::TensorFile;

/// Retention, linear attention with a constant decay a head: `S_t = exp(g) S_(t-1) + v_t ⊗ k_t`, `o_t = scale S_t q_t`
#[derive(Debug, Args)]
pub struct Sizes {
    #[command(flatten)]
    sizes: linear_attention::CommonSizes,
}

options! {
    /// Reads q, k, v, g and what else there is; writes o and final_states, and gradients if do is there
    ///
    /// q and k (batch, length, heads, key_dim); v (batch, length, heads, value_dim); g (heads), logarithms of the decays, and
    /// initial_states (batch, heads, value_dim, key_dim) in any of the types. seq_idx or cu_seqlens divide the steps into
    /// sequences as for ssd. With do, like v, and dfinal_states if anything follows from them: dq, dk, dv, dg, and
    /// dinitial_states if there are initial ones. g's gradient and states are written in F32.
    #[derive(Debug, Args)]
    pub struct Options {
        #[command(flatten)]
        given: Given,
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        self.sizes.operation(Gate::Constant)
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        linear_attention::of_file(file, Gate::Constant, self.given)
    }
}
