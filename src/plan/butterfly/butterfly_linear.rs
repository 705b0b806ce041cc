//! Plans of the butterfly linear layer.

use std::fmt;

use crate::caps::Caps;
use crate::plan::{
    ButterflyBackwardPlan, ButterflyPlan, Footprint, Plan, Side, SliceSumPlan, check_binding, check_caps,
    check_turns,
};
use crate::shader::Storage;
use crate::{ButterflyLinearSpec, DType, PlanError};

/// How to run a [`ButterflyLinearSpec`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ButterflyLinearPlan {
    /// The product, with the bias where its last pass stores rows.
    pub forward: ButterflyPlan,
    /// The product's gradients.
    pub backward: ButterflyBackwardPlan,
    /// Where there are several products of one `x`, the sum of their gradients of it.
    pub dx: Option<SliceSumPlan>,
    /// The gradient of the bias: the sum of `dy` over the batch.
    pub dbias: Option<SliceSumPlan>,
}

impl ButterflyLinearPlan {
    /// Plans a layer. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &ButterflyLinearSpec, caps: &Caps) -> Result<Self, PlanError> {
        const KERNEL: &str = "a butterfly linear layer";
        spec.check()?;
        check_caps(KERNEL, caps)?;
        let product = spec.product();
        let Sides { x, y, dx } = Sides::new(spec);
        let backward = ButterflyBackwardPlan::with_sides(&product, [x, y, dx], caps)?;
        let storage = |run: usize| Storage::new(spec.dtype, caps.f16, run.is_multiple_of(4));
        let between = |run: usize| Storage::new(DType::F32, caps.f16, run.is_multiple_of(4));
        let dx = (product.nstacks > 1)
            .then(|| SliceSumPlan::alone(between(spec.in_features), storage(spec.in_features)));
        if dx.is_some() {
            let elements = spec.batch * product.nstacks * spec.in_features;
            check_binding("the gradients of x, one for each stack", elements, DType::F32, caps)?;
        }
        let rows = storage(spec.out_features);
        let dbias =
            spec.bias.then_some(SliceSumPlan { spread: SliceSumPlan::SPREAD, slices: rows, sums: rows });
        if let Some(plan) = dbias {
            check_turns(KERNEL, spec.batch.div_ceil(plan.spread as usize) as u64, caps)?;
        }
        let forward = ButterflyPlan::with_sides(&product, [x, y], spec.bias, caps)?;
        Ok(Self { forward, backward, dx, dbias })
    }
}

/// How a layer's rows lie: `x` is the same for all stacks, and `y` ends where the outputs do. Gradients of `x` are apart
/// where there are several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    pub x: Side,
    pub y: Side,
    pub dx: Side,
}

impl Sides {
    pub fn new(spec: &ButterflyLinearSpec) -> Self {
        let product = spec.product();
        let x = Side { row: spec.in_features, stack: 0, width: spec.in_features, spare: 0 };
        let y = Side { row: spec.out_features, stack: product.n, width: product.n, spare: 0 };
        let dx = if product.nstacks == 1 { x } else { Side::x(&product) };
        Self { x, y, dx }
    }
}

impl Plan for ButterflyLinearPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let sums = self.dx.iter().chain(&self.dbias).map(|_| SliceSumPlan::footprint());
        [self.forward.footprints(), self.backward.footprints(), sums.collect()].concat()
    }
}

impl fmt::Display for ButterflyLinearPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forward: {}; backward: {}", self.forward, self.backward)
    }
}
