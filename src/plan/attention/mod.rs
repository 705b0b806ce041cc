//! Plans of the attention family.

mod append;
mod backward;
mod cached;
mod direct_tile;
mod forward;
mod matrix_tile;
mod merge;
mod mods;
mod probabilities;
mod tile;

pub use append::{AppendPlan, RotatePlan, RowsPlan};
pub use backward::AttentionBackwardPlan;
pub use cached::CacheStructure;
pub use direct_tile::DirectTile;
pub use forward::{AttentionPath, AttentionPlan, ForwardPath};
pub use matrix_tile::{MatrixPass, MatrixTile};
pub use merge::{MergePlan, Parts};
pub use mods::{ModsStructure, VisitTable};
pub(crate) use mods::{VISIT_LANES, block_words};
pub use probabilities::AttentionProbabilitiesPlan;
pub use tile::AttentionTile;

use std::fmt;

use crate::caps::Caps;
use crate::plan::{Footprint, check_binding};
use crate::shader::Storage;
use crate::{Alibi, AttentionSpec, DType, Mods, PlanError};

/// Structural choices that the kernels of the family share: which modules and constants they are linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct AttentionStructure {
    /// Width of a query and a key.
    pub head_dim: u32,
    /// Width of a value.
    pub value_dim: u32,
    /// How `q` and `k` are stored.
    pub key_storage: Storage,
    /// How `v` and `o` are stored.
    pub value_storage: Storage,
    /// Whether scores are capped.
    pub softcap: bool,
    /// Whether there are linear biases.
    pub alibi: bool,
    /// Whether weights are dropped.
    pub dropout: bool,
    /// Whether heads have sinks.
    pub sinks: bool,
    /// Whether sequences have different lengths.
    pub packed: bool,
    /// How keys and values lie in a cache, if they do.
    pub cache: Option<CacheStructure>,
    /// Whether sinks, scales and slopes are copied into one buffer, since the adapter binds too few.
    pub together: bool,
    /// What mods ask for.
    pub mods: ModsStructure,
}

impl AttentionStructure {
    fn new(spec: &AttentionSpec, mods: &Mods, caps: &Caps) -> Self {
        let storage = |dim: usize| Storage::new(spec.dtype, caps.f16, dim.is_multiple_of(4));
        Self {
            head_dim: spec.head_dim as u32,
            value_dim: spec.value_dim as u32,
            key_storage: storage(spec.head_dim),
            value_storage: storage(spec.value_dim),
            softcap: spec.softcap.is_some(),
            alibi: spec.alibi != Alibi::None,
            dropout: spec.dropout.is_some(),
            sinks: spec.sinks,
            packed: spec.packed.is_some(),
            cache: None,
            together: false,
            mods: ModsStructure::new(spec, mods),
        }
    }

    /// Whether keys and values have a scale for each head.
    pub fn scaled(&self) -> bool {
        self.cache.is_some_and(|cache| cache.scaled)
    }

    /// Storage buffers that hold something of each head: slopes, sinks and scales.
    fn head_buffers(&self) -> u32 {
        let buffers = u32::from(self.alibi) + u32::from(self.sinks) + u32::from(self.scaled());
        if self.together { buffers.min(1) } else { buffers }
    }

    /// Those of the modules that say where sequences lie.
    fn sequence_buffers(&self) -> u32 {
        u32::from(self.packed || self.cache.is_some())
    }

    /// Whether packed sequences are found through what the mods' buffers are brought together in.
    pub fn sequences_among_mods(&self) -> bool {
        self.packed && self.mods.together
    }

    /// Storage buffers that a kernel with such tiles binds for sequences and for mods.
    fn modded_buffers(&self, tile: (u32, u32)) -> u32 {
        if self.sequences_among_mods() {
            return 1;
        }
        self.sequence_buffers() + self.mods.storage_buffers(tile)
    }

    /// Brings together what takes more bindings than the adapter has: what mods read first, and then what there is of each
    /// head, if the kernels read that.
    fn bring_together(&mut self, caps: &Caps, footprints: impl Fn(Self) -> Vec<Footprint>) {
        let too_many = |structure: Self| {
            footprints(structure).iter().any(|footprint| footprint.storage_buffers > caps.storage_buffers)
        };
        self.mods.together = self.mods.reads() && too_many(*self);
        self.together = too_many(*self);
    }

    /// Turns that the loops of a lane take over four scores of a row.
    fn block_turns(&self) -> u32 {
        // The rounds of Philox.
        if self.dropout { 10 } else { 0 }
    }
}

impl fmt::Display for AttentionStructure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key_storage, value_storage, .. } = self;
        match self.cache {
            Some(CacheStructure { keys, values, paged, .. }) => {
                write!(f, "q {key_storage}; o {value_storage}; cached k {keys}; v {values}")?;
                if paged {
                    f.write_str("; through the block table")?;
                }
            }
            None if key_storage == value_storage => write!(f, "{key_storage}")?,
            None => write!(f, "q, k {key_storage}; v, o {value_storage}")?,
        }
        write!(f, "{}", self.mods)?;
        if self.together { f.write_str("; what heads have bound together") } else { Ok(()) }
    }
}

/// Fails if mods are not what they must be, or do not fit the spec.
fn check_mods(spec: &AttentionSpec, mods: &Mods) -> Result<(), PlanError> {
    mods.check()?;
    Ok(mods.blocks.as_ref().map_or(Ok(()), |blocks| blocks.check(spec))?)
}

/// Fails if a tensor of the spec cannot be bound at once.
fn check_bindings(spec: &AttentionSpec, caps: &Caps) -> Result<(), PlanError> {
    let AttentionSpec { dtype, .. } = *spec;
    let check = |tensor, shape: &[usize], dtype| check_binding(tensor, shape.iter().product(), dtype, caps);
    check("q", &spec.q_shape(), dtype)?;
    check("k", &spec.k_shape(), dtype)?;
    check("v", &spec.v_shape(), dtype)?;
    check("o", &spec.o_shape(), dtype)?;
    check("lse", &spec.lse_shape(), DType::F32)?;
    check("the ALiBi slopes", &spec.alibi_shape(), DType::F32)
}
