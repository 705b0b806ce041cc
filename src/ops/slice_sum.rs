//! Sums of what workgroups left side by side.

use crate::kernel::params;
use crate::plan::SliceSumPlan;
use crate::shader::{Linker, Shader, ShaderError};

params! {
    /// `common/sum_slices`.
    SliceSumParams {
        sums: u32, slices: u32, all: u32, count: u32, from_slice: u32, from_sum: u32, to_sum: u32, to_first: u32,
    }
}

/// The linked shader of a plan.
pub(super) fn shader(plan: SliceSumPlan) -> Result<Shader, ShaderError> {
    scaled_shader(plan, |linker| linker.module("common/scale_none"))
}

/// The same, where `scale` links what sums are multiplied by.
pub(super) fn scaled_shader(
    plan: SliceSumPlan,
    scale: impl FnOnce(Linker) -> Linker,
) -> Result<Shader, ShaderError> {
    scale(Linker::new("common/sum_slices"))
        .set("LANES", SliceSumPlan::LANES)
        .set("SPREAD", plan.spread)
        .tensor("slices", plan.slices)
        .tensor("sums", plan.sums)
        .link()
}

/// What is summed: several sums of slices of `count` numbers each.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_field_names, reason = "the kernel's own names")]
pub(super) struct Slices {
    pub sums: u32,
    /// Of a sum.
    pub slices: u32,
    /// Of all sums, if the last has fewer.
    pub all: u32,
    pub count: u32,
    /// From one slice to the next, in numbers.
    pub from_slice: u32,
    /// From the first slice of one sum to that of the next.
    pub from_sum: u32,
    /// From one sum to the next in the result.
    pub to_sum: u32,
    /// Where the first one begins.
    pub to_first: u32,
}

impl Slices {
    /// One sum of so many slices, one after another.
    pub fn one(slices: u32, count: u32) -> Self {
        Self { sums: 1, slices, all: slices, count, from_slice: count, from_sum: 0, to_sum: 0, to_first: 0 }
    }

    pub fn params(self, plan: SliceSumPlan) -> SliceSumParams {
        let Self { sums, slices, all, count, from_slice, from_sum, to_sum, to_first } = self;
        let groups = (sums * count.div_ceil(4)).div_ceil(SliceSumPlan::LANES / plan.spread);
        SliceSumParams { groups, sums, slices, all, count, from_slice, from_sum, to_sum, to_first }
    }
}
