//! Plans of the attention family.

mod forward;
mod mods;
mod tile;

pub use forward::AttentionPlan;
pub use mods::{ModsStructure, VisitTable};
pub(crate) use mods::{VISIT_LANES, block_words};
pub use tile::AttentionTile;

use std::fmt;

use crate::caps::Caps;
use crate::plan::{Footprint, check_binding};
use crate::shader::Storage;
use crate::{Alibi, AttentionSpec, DType, Mods, PlanError};

/// Structural choices that the kernels of the family share: which modules and constants they are linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
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
            mods: ModsStructure::new(mods),
        }
    }

    /// Storage buffers that the modules of the options bind in a kernel with tiles of so many queries and keys.
    fn storage_buffers(&self, tile: (u32, u32)) -> u32 {
        u32::from(self.alibi) + self.mods.storage_buffers(tile)
    }
}

impl fmt::Display for AttentionStructure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key_storage, value_storage, .. } = self;
        if key_storage == value_storage {
            write!(f, "{key_storage}")?;
        } else {
            write!(f, "q, k {key_storage}; v, o {value_storage}")?;
        }
        write!(f, "{}", self.mods)
    }
}

/// Fails if mods are not what they must be, or do not fit the spec.
fn check_mods(spec: &AttentionSpec, mods: &Mods) -> Result<(), PlanError> {
    mods.check()?;
    Ok(mods.blocks.as_ref().map_or(Ok(()), |blocks| blocks.check(spec))?)
}

/// Whether kernels bind more buffers than the adapter lets them.
fn bind_too_many(footprints: &[Footprint], caps: &Caps) -> bool {
    footprints.iter().any(|footprint| footprint.storage_buffers > caps.storage_buffers)
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
