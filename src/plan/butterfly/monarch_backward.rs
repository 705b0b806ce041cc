//! Plans of the gradients of a Monarch product.

use std::fmt;

use super::outer::{OuterPlan, Rows};
use super::product_tile::ProductTile;
use crate::caps::Caps;
use crate::plan::{Bound, Footprint, Plan, check_binding, check_caps, check_turns};
use crate::shader::Storage;
use crate::{DType, MonarchSpec, PlanError};

/// How to compute the gradients of a [`MonarchSpec`]. What lies between the factors, `z`, is computed again, since
/// the forward product keeps none, and its gradient `dz` goes through scratch: four sums read them. Both
/// are f32, or f16 where matrix units take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MonarchBackwardPlan {
    /// `z` from `x`, through the first factor.
    pub forward: ProductTile,
    /// `dz` from `dy`, through the transpose of the second factor, whose rows are interleaved.
    pub second: ProductTile,
    /// `dx` from `dz`, through the transpose of the first.
    pub first: ProductTile,
    /// The gradient of the first factor, from `dz` and `x`.
    pub dw1: OuterPlan,
    /// The gradient of the second, from `dy` and `z`.
    pub dw2: OuterPlan,
    /// How `x` and `dx` are stored.
    pub x: Storage,
    /// How the first factor is stored.
    pub w1: Storage,
    /// How the second factor is stored.
    pub w2: Storage,
    /// How `dy` is stored.
    pub dy: Storage,
    /// How `z` and `dz` are addressed in blocks of the first factor.
    pub z_blocked: Storage,
    /// How they are addressed across the blocks of the second.
    pub z_interleaved: Storage,
    /// What kept the tiles from being larger.
    pub bound: Bound,
}

impl MonarchBackwardPlan {
    /// Plans the gradients. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &MonarchSpec, caps: &Caps) -> Result<Self, PlanError> {
        spec.check()?;
        check_caps("the gradients of a Monarch product", caps)?;
        let (dtype, batch) = (spec.dtype, spec.batch);
        let ([k, q, p], [l, s, r]) = (spec.w1, spec.w2);
        check_binding("x", batch * spec.n_in(), dtype, caps)?;
        check_binding("w1", k * q * p, dtype, caps)?;
        check_binding("w2", l * s * r, dtype, caps)?;
        check_binding("dy", batch * spec.n_out(), dtype, caps)?;
        check_binding("the row between the factors", batch * spec.n_mid(), DType::F32, caps)?;
        let by_runs_of = |dtype: DType, run: usize| Storage::new(dtype, caps.f16, run.is_multiple_of(4));
        let [x, w1, w2, dy] =
            [(p, dtype), (p, dtype), (r, dtype), (l, dtype)].map(|(run, dtype)| by_runs_of(dtype, run));
        let (second, _) = ProductTile::interleaved(batch, [l, r, s], true, [dy, w2], 4, caps);
        let between = if second.is_on_matrices() { DType::F16 } else { DType::F32 };
        let [z_blocked, z_interleaved] = [by_runs_of(between, q), by_runs_of(between, l)];
        let (forward, _) = ProductTile::diagonal(batch, [k, q, p], false, [x, w1], caps);
        let (first, bound) = ProductTile::diagonal(batch, [k, p, q], true, [z_blocked, w1], caps);
        let turns = [(forward, p), (second, s), (first, q)];
        for (tile, summed) in turns {
            check_turns("the gradients of a Monarch product", tile.turns(summed), caps)?;
        }
        let blocked = Rows::Blocked { turned: [false; 2], sides: [z_blocked, x] };
        let across = Rows::Interleaved { sides: [dy, z_interleaved] };
        let (dw1, _) = OuterPlan::new("dw1", dtype, batch, [k, q, p], blocked, false, caps)?;
        let (dw2, _) = OuterPlan::new("dw2", dtype, batch, [l, s, r], across, false, caps)?;
        Ok(Self { forward, second, first, dw1, dw2, x, w1, w2, dy, z_blocked, z_interleaved, bound })
    }
}

impl Plan for MonarchBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let mut footprints = [self.forward, self.second, self.first]
            .map(|tile| tile.footprint("butterfly/block_diagonal", 3))
            .to_vec();
        footprints.extend(self.dw1.footprints(false));
        footprints.extend(self.dw2.footprints(false));
        footprints
    }
}

impl fmt::Display for MonarchBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { forward, second, first, dw1, dw2, x, bound, .. } = self;
        write!(f, "z again: {forward} | dz: {second} | dx: {first} | dw1: {dw1} | dw2: {dw2}; {x}; {bound}")
    }
}
