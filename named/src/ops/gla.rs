//! `gla`.

use clap::Args;
use tilewise::Gate;

use super::linear_attention::{self, Given};
use super::{FromFile, FromSizes, Operation};
use crate::failure::Failure;
use crate::options::options;
use crate::tensors::TensorFile;

/// Gated linear attention: `S_t = exp(g_t) S_(t-1) + v_t ⊗ k_t`, `o_t = scale S_t q_t`, a gate for each head and step, or for each
/// element of its keys
#[derive(Debug, Args)]
pub struct Sizes {
    #[command(flatten)]
    sizes: linear_attention::CommonSizes,
    /// A gate for each element of a key
    #[arg(long)]
    per_key: bool,
}

options! {
    /// Reads q, k, v, g and what else there is; writes o and final_states, and gradients if do is there
    ///
    /// q and k (batch, length, heads, key_dim); v (batch, length, heads, value_dim); g (batch, length, heads), or like k where each
    /// element of a key has its own, logarithms of the decays, and initial_states (batch, heads,
    /// value_dim, key_dim) in any of the types. seq_idx or cu_seqlens divide the steps into
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
        self.sizes.operation(if self.per_key { Gate::PerKey } else { Gate::PerStep })
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        let per_key = file.find("g")?.is_some_and(|g| g.shape.len() == 4);
        linear_attention::of_file(file, if per_key { Gate::PerKey } else { Gate::PerStep }, self.given)
    }
}
