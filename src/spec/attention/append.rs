//! Specs of appending to a cache.

use std::fmt;

use super::{CacheSpec, Rotary};
use crate::SpecError;
use crate::spec::{at_least_one, elements, wrong};

/// New keys and values written behind those of their sequences in a cache, in place.
///
/// Tensors: `k` (batch, `len`, `kv_heads`, `head_dim`) and `v` (batch, `len`, `kv_heads`, `value_dim`) in the cache's `dtype`.
/// Keys are turned by their positions if there is a [`Rotary`]; a position counts the padding on the left. An 8-bit cache
/// keeps `round(x / scale)` within ±127, with a scale for each head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AppendSpec {
    /// The cache.
    pub cache: CacheSpec,
    /// Batch size.
    pub batch: usize,
    /// New keys of each sequence.
    pub len: usize,
    /// How new keys are turned.
    pub rotary: Option<Rotary>,
}

impl AppendSpec {
    /// Appends `len` keys to each of `batch` sequences.
    pub fn new(cache: CacheSpec, batch: usize, len: usize) -> Self {
        Self { cache, batch, len, rotary: None }
    }

    /// Turns new keys by their positions.
    #[must_use]
    pub fn rotary(self, rotary: Rotary) -> Self {
        Self { rotary: Some(rotary), ..self }
    }

    /// Shape of the new keys.
    pub fn k_shape(&self) -> [usize; 4] {
        [self.batch, self.len, self.cache.kv_heads, self.cache.head_dim]
    }

    /// Shape of the new values.
    pub fn v_shape(&self) -> [usize; 4] {
        [self.batch, self.len, self.cache.kv_heads, self.cache.value_dim]
    }

    /// Fails if a size is 0 or too large, or keys cannot be turned so.
    pub fn check(&self) -> Result<(), SpecError> {
        self.cache.check()?;
        at_least_one(&[("batch", self.batch), ("the number of new keys", self.len)])?;
        if let Some(rotary) = self.rotary {
            rotary.check(self.cache.head_dim)?;
        }
        let CacheSpec { blocks, block_len, paged, .. } = self.cache;
        if !paged && self.batch > blocks {
            return Err(wrong("batch", &self.batch, format!("at most {blocks}, the slots of the cache")));
        }
        if !paged && self.len > block_len {
            let expected = format!("at most {block_len}, the keys of a slot");
            return Err(wrong("the number of new keys", &self.len, expected));
        }
        elements("the new keys", &self.k_shape())?;
        elements("the new values", &self.v_shape()).map(drop)
    }
}

impl fmt::Display for AppendSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cache, batch, len, rotary } = self;
        let CacheSpec { dtype, kv_heads, head_dim, value_dim, .. } = cache;
        write!(f, "append {dtype} b {batch} s {len} h {kv_heads} d {head_dim}")?;
        if value_dim != head_dim {
            write!(f, "/{value_dim}")?;
        }
        write!(f, " to {cache}")?;
        rotary.map_or(Ok(()), |rotary| write!(f, ", {rotary}"))
    }
}
