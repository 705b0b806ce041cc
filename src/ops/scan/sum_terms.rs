//! Sums of what workgroups leave apart.

use crate::kernel::{Kernel, params};
use crate::plan::SumPlan;
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::{Element, Error, Gpu, Tensor};

params! {
    /// `scan/sum_terms`.
    SumParams { first: u32, total: u32, count: u32, inner: u32, to: u32 }
}

/// The linked shader of a plan, for sums stored like that.
pub(super) fn shader(plan: SumPlan, sums: Storage) -> Result<Shader, ShaderError> {
    // All sums are taken as one row, so that its vectors start at multiples of four.
    let sums = Storage { vectors: true, ..sums };
    linker(plan).module("scan/sum_store").tensor("sums", sums).link()
}

/// The same, for sums in f32 that are added to what is there.
pub(super) fn adding(plan: SumPlan) -> Result<Shader, ShaderError> {
    linker(plan).module("scan/sum_add").link()
}

fn linker(plan: SumPlan) -> Linker {
    let linker = Linker::new("scan/sum_terms").module("scan/sum_shares");
    linker.set("LANES", plan.lanes).set("QUADS", plan.quads)
}

/// Parts of sums within a tensor: (outer, count, inner) from an element on, where `outer × inner` are the sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub first: usize,
    pub count: usize,
    pub inner: usize,
}

/// Records the sums of `terms` that fill `sums`.
pub(super) fn encode<T: Element>(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    kernel: (&Kernel, SumPlan),
    terms: (&Tensor<f32>, Terms),
    sums: &Tensor<T>,
) -> Result<(), Error> {
    encode_into(gpu, encoder, kernel, terms, (sums, 0, sums.len()))
}

/// Records `count` sums of `terms` that fill `sums` from `to` on: a multiple of four, unless they are added.
pub(super) fn encode_into<T: Element>(
    gpu: &Gpu,
    encoder: &mut wgpu::CommandEncoder,
    (kernel, plan): (&Kernel, SumPlan),
    (parts, terms): (&Tensor<f32>, Terms),
    (sums, to, count): (&Tensor<T>, usize, usize),
) -> Result<(), Error> {
    let total = count as u32;
    let params = SumParams {
        groups: total.div_ceil(4 * plan.quads),
        first: terms.first as u32,
        total,
        count: terms.count as u32,
        inner: terms.inner as u32,
        to: to as u32,
    };
    kernel.dispatch(gpu, encoder, &params, &[parts.buffer(), sums.buffer()])
}
