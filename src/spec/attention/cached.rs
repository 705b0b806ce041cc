//! Specs of attention to a cache.

use std::fmt;

use super::{AttentionSpec, CacheSpec};
use crate::SpecError;
use crate::spec::wrong;

/// Attention to the keys and values that sequences hold in a cache: decoding.
///
/// Everything is as in [`AttentionSpec`], but each sequence has its own number of keys, `k_len` at most, which a
/// [`CacheView`](crate::CacheView) gives at each call together with where they lie. Queries stand at the last keys of their
/// sequence. Padding on the left is not seen, and does not count in positions. An 8-bit cache is read as its integers times
/// the scale of their head.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CachedAttentionSpec {
    /// What to compute; `k_len` is the most keys of a sequence.
    pub attention: AttentionSpec,
    /// Where keys and values are.
    pub cache: CacheSpec,
}

impl CachedAttentionSpec {
    /// Attends to that cache.
    pub fn new(attention: AttentionSpec, cache: CacheSpec) -> Self {
        Self { attention, cache }
    }

    /// Bytes that must move at least if each sequence has `k_len` keys: as in [`AttentionSpec::least_bytes`], with keys and
    /// values as the cache stores them.
    pub fn least_bytes(&self) -> u64 {
        let AttentionSpec { dtype, .. } = self.attention;
        let count = |shape: Vec<usize>| shape.into_iter().product::<usize>();
        let kept = count(self.attention.k_shape()) + count(self.attention.v_shape());
        self.attention.least_bytes() - (kept * (dtype.bytes() - self.cache.element_bytes())) as u64
    }

    /// Fails if either part is wrong, or they do not go together.
    pub fn check(&self) -> Result<(), SpecError> {
        let Self { attention, cache } = self;
        attention.check()?;
        cache.check()?;
        let expected = |size: usize| format!("{size}, as in the cache");
        if attention.dtype != cache.dtype {
            return Err(wrong("dtype", &attention.dtype, format!("{}, as in the cache", cache.dtype)));
        }
        for (name, found, size) in [
            ("kv_heads", attention.kv_heads, cache.kv_heads),
            ("head_dim", attention.head_dim, cache.head_dim),
            ("value_dim", attention.value_dim, cache.value_dim),
        ] {
            if found != size {
                return Err(wrong(name, &found, expected(size)));
            }
        }
        if !cache.paged && attention.k_len > cache.block_len {
            let expected = format!("at most {}, the keys of a slot", cache.block_len);
            return Err(wrong("k_len", &attention.k_len, expected));
        }
        if attention.dropout.is_some() {
            return Err(wrong("dropout", &"given", "none for attention to a cache"));
        }
        if attention.packed.is_some() {
            return Err(wrong("packed", &"given", "none for attention to a cache"));
        }
        Ok(())
    }
}

impl fmt::Display for CachedAttentionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attention, cache } = self;
        write!(f, "{attention}, in {cache}")
    }
}
