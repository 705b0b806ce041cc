//! Plans of appending to a cache, and of turning rows.

use std::fmt;

use crate::caps::Caps;
use crate::plan::{Footprint, Plan, check_binding, check_caps};
use crate::shader::{Format, Storage};
use crate::{AppendSpec, CacheSpec, DType, PlanError, Rotary, RotaryPairs, RotateSpec};

/// How to bring rows to where they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RowsPlan {
    /// Width of a row.
    pub width: u32,
    /// How the given rows are stored.
    pub from: Storage,
    /// How they are stored where they go.
    pub to: Storage,
    /// How many elements of a row are turned, and which make a pair.
    pub rotary: Option<(u32, RotaryPairs)>,
    /// Whether they go to pages.
    pub paged: bool,
}

/// How to run an [`AppendSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AppendPlan {
    /// The keys.
    pub keys: RowsPlan,
    /// The values.
    pub values: RowsPlan,
}

/// How to run a [`RotateSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RotatePlan {
    /// The rows.
    pub rows: RowsPlan,
}

/// Invocations of a workgroup.
const LANES: u32 = 64;

impl RowsPlan {
    /// Invocations of a workgroup.
    pub fn lanes(&self) -> u32 {
        LANES
    }

    /// Workgroups for that many rows.
    pub(crate) fn groups(&self, rows: usize) -> u32 {
        (rows as u32 * self.width.div_ceil(4)).div_ceil(LANES)
    }

    /// Whether rows are scaled.
    pub(crate) fn scaled(&self) -> bool {
        self.to.format == Format::I8Packed
    }

    fn footprint(&self) -> Footprint {
        let tables = if self.rotary.is_some() { 2 } else { 0 };
        Footprint {
            kernel: "attention/append",
            lanes: LANES,
            workgroup_bytes: 0,
            storage_buffers: 3 + tables + u32::from(self.paged) + u32::from(self.scaled()),
        }
    }
}

/// How a cache stores rows of that width.
pub(super) fn cache_storage(spec: &CacheSpec, width: usize, caps: &Caps) -> Storage {
    let storage = Storage::new(spec.dtype, caps.f16, width.is_multiple_of(4));
    if spec.int8 { Storage { format: Format::I8Packed, ..storage } } else { storage }
}

/// Fails if the keys or the values of a cache cannot be bound at once.
pub(super) fn check_cache(spec: &CacheSpec, caps: &Caps) -> Result<(), PlanError> {
    for (tensor, shape) in [("the cache of keys", spec.k_shape()), ("the cache of values", spec.v_shape())] {
        let elements: usize = shape.iter().product();
        // What is counted is bytes: an 8-bit cache holds fewer words.
        let words = (elements * spec.element_bytes()).div_ceil(DType::F32.bytes());
        check_binding(tensor, words, DType::F32, caps)?;
    }
    Ok(())
}

fn check_tables(rotary: Option<Rotary>, caps: &Caps) -> Result<(), PlanError> {
    let elements = rotary.map_or(0, |rotary| rotary.table_shape().iter().product());
    check_binding("a rotary table", elements, DType::F32, caps)
}

impl AppendPlan {
    /// Plans an append. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &AppendSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("appending", caps)?;
        let cache = &spec.cache;
        check_cache(cache, caps)?;
        check_binding("the new keys", spec.k_shape().iter().product(), cache.dtype, caps)?;
        check_binding("the new values", spec.v_shape().iter().product(), cache.dtype, caps)?;
        check_tables(spec.rotary, caps)?;
        let rows = |width: usize, rotary: Option<Rotary>| RowsPlan {
            width: width as u32,
            from: Storage::new(cache.dtype, caps.f16, width.is_multiple_of(4)),
            to: cache_storage(cache, width, caps),
            rotary: rotary.map(|rotary| (rotary.dim as u32, rotary.pairs)),
            paged: cache.paged,
        };
        Ok(Self { keys: rows(cache.head_dim, spec.rotary), values: rows(cache.value_dim, None) })
    }
}

impl RotatePlan {
    /// Plans a rotation. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &RotateSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("rotating", caps)?;
        check_binding("x", spec.shape().iter().product(), spec.dtype, caps)?;
        check_tables(Some(spec.rotary), caps)?;
        let storage = Storage::new(spec.dtype, caps.f16, spec.head_dim.is_multiple_of(4));
        let rotary = Some((spec.rotary.dim as u32, spec.rotary.pairs));
        let width = spec.head_dim as u32;
        Ok(Self { rows: RowsPlan { width, from: storage, to: storage, rotary, paged: false } })
    }
}

impl Plan for AppendPlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![self.keys.footprint(), self.values.footprint()]
    }
}

impl Plan for RotatePlan {
    fn footprints(&self) -> Vec<Footprint> {
        vec![self.rows.footprint()]
    }
}

impl fmt::Display for RowsPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, rotary, paged, .. } = self;
        write!(f, "{LANES} lanes of 4 elements, {from}")?;
        if from != to {
            write!(f, " to {to}")?;
        }
        if let Some((dim, _)) = rotary {
            write!(f, ", {dim} turned by tables")?;
        }
        if *paged { f.write_str(", through the block table") } else { Ok(()) }
    }
}

impl fmt::Display for AppendPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys: {} | values: {}", self.keys, self.values)
    }
}

impl fmt::Display for RotatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}
