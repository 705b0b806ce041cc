//! Plans of the Monarch linear layer.

use std::fmt;

use super::column_sums::ColumnSumsPlan;
use super::{MonarchBackwardPlan, MonarchPlan};
use crate::caps::Caps;
use crate::plan::{Footprint, Plan};
use crate::{MonarchLinearSpec, PlanError};

/// How to run a [`MonarchLinearSpec`] and its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MonarchLinearPlan {
    /// The product, with the bias in its last store.
    pub forward: MonarchPlan,
    /// Its gradients.
    pub backward: MonarchBackwardPlan,
    /// That of the bias, if there is one.
    pub dbias: Option<ColumnSumsPlan>,
}

impl MonarchLinearPlan {
    /// Plans a layer. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &MonarchLinearSpec, caps: &Caps) -> Result<Self, PlanError> {
        let product = &spec.product;
        let columns = [product.batch, product.n_out()];
        Ok(Self {
            forward: MonarchPlan { bias: spec.bias, ..MonarchPlan::new(product, caps)? },
            backward: MonarchBackwardPlan::new(product, caps)?,
            dbias: spec.bias.then(|| ColumnSumsPlan::new(product.dtype, columns, caps)).transpose()?,
        })
    }
}

impl Plan for MonarchLinearPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let mut footprints = [self.forward.footprints(), self.backward.footprints()].concat();
        if self.dbias.is_some() {
            footprints.extend(ColumnSumsPlan::footprints());
        }
        footprints
    }
}

impl fmt::Display for MonarchLinearPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forward: {} || backward: {}", self.forward, self.backward)
    }
}
