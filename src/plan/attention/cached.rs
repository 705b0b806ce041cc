//! The plan of attention to a cache.

use super::append::{cache_storage, check_cache};
use super::{AttentionPlan, AttentionStructure};
use crate::caps::Caps;
use crate::plan::{check_binding, check_caps};
use crate::shader::Storage;
use crate::spec::wrong;
use crate::{CacheSpec, CachedAttentionSpec, DType, Mods, PlanError};

/// How keys and values lie in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CacheStructure {
    /// How keys are stored.
    pub keys: Storage,
    /// How values are stored.
    pub values: Storage,
    /// Whether they lie in pages.
    pub paged: bool,
    /// Whether each head has a scale.
    pub scaled: bool,
}

impl CacheStructure {
    fn new(spec: &CacheSpec, caps: &Caps) -> Self {
        Self {
            keys: cache_storage(spec, spec.head_dim, caps),
            values: cache_storage(spec, spec.value_dim, caps),
            paged: spec.paged,
            scaled: spec.int8,
        }
    }
}

impl AttentionPlan {
    /// Plans attention to a cache. Fails if the spec is wrong, a tensor exceeds a binding, or not even the smallest tile
    /// fits.
    pub fn cached(spec: &CachedAttentionSpec, caps: &Caps) -> Result<Self, PlanError> {
        Self::cached_with_mods(spec, &Mods::default(), caps)
    }

    /// Plans attention to a cache with mods. Fails also if they are wrong, or hide blocks: sequences in a cache have lengths
    /// of their own, for which a mask of blocks has no shape.
    pub fn cached_with_mods(spec: &CachedAttentionSpec, mods: &Mods, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        mods.check()?;
        if mods.blocks.is_some() {
            return Err(wrong("block_mask", &"given", "none for attention to a cache").into());
        }
        check_caps("attention", caps)?;
        let CachedAttentionSpec { attention, cache } = spec;
        let check =
            |tensor, shape: &[usize], dtype| check_binding(tensor, shape.iter().product(), dtype, caps);
        check("q", &attention.q_shape(), attention.dtype)?;
        check("o", &attention.o_shape(), attention.dtype)?;
        check("lse", &attention.lse_shape(), DType::F32)?;
        check("the ALiBi slopes", &attention.alibi_shape(), DType::F32)?;
        check_cache(cache, caps)?;
        let structure = AttentionStructure::new(attention, mods, caps);
        let structure = AttentionStructure {
            cache: Some(CacheStructure::new(cache, caps)),
            mods: structure.mods.asked_everywhere(),
            ..structure
        };
        Self::with_structure(attention, structure, caps)
    }
}
