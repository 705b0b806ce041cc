//! The gradients of a linear scan as a composition of array operations, and as a plain loop.

use std::fmt;

use super::linear_scan::{ApplyParams, DoubleParams, ScanScratch, SequentialParams};
use super::{SequentialLinearScanPlan, UnfusedLinearScanPlan};
use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array};
use crate::plan::{Footprint, Plan};
use crate::shader::{Linker, Shader, ShaderError, Storage};
use crate::{
    Caps, Element, Error, Gpu, LinearScanBackwardInputs, LinearScanGradients, LinearScanSpec, PlanError,
    Tensor,
};

/// Loads and stores of single elements: a step's neighbours are no fours.
fn one_by_one(storage: Storage) -> Storage {
    Storage { vectors: false, ..storage }
}

fn tensors(linker: Linker, names: &[&'static str], storage: Storage) -> Linker {
    names.iter().fold(linker, |linker, name| linker.tensor(name, one_by_one(storage)))
}

/// How to run the gradients of a [`LinearScanSpec`] unfused: as the scan, with the rows turned around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedLinearScanBackwardPlan {
    /// That of the scan.
    pub scan: UnfusedLinearScanPlan,
}

impl UnfusedLinearScanBackwardPlan {
    /// Plans unfused gradients. Fails like [`UnfusedLinearScanPlan::new`].
    pub fn new(spec: &LinearScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        Ok(Self { scan: UnfusedLinearScanPlan::new(spec, caps)? })
    }
}

impl Plan for UnfusedLinearScanBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.scan.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        vec![
            kernel("baseline/scan_backward_pairs", 3),
            kernel("baseline/scan_double", 2),
            kernel("baseline/scan_backward_apply", 7),
        ]
    }
}

impl fmt::Display for UnfusedLinearScanBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scan)
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn backward_shaders(
    UnfusedLinearScanBackwardPlan { scan }: &UnfusedLinearScanBackwardPlan,
) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| yardstick(kernel).set("LANES", scan.lanes);
    let pairs = tensors(linker("baseline/scan_backward_pairs"), &["a", "dh"], scan.storage);
    let double = linker("baseline/scan_double").module("scan/affine");
    let apply = linker("baseline/scan_backward_apply").module("baseline/scan_before");
    let apply = tensors(apply.set("HAS_INITIAL", scan.initial), &["a", "h", "da", "db"], scan.storage);
    Ok(vec![pairs.link()?, double.link()?, apply.link()?])
}

/// The gradients of a linear scan as array frameworks compose them: doubling passes over whole arrays (Hillis and Steele
/// 1986), turned around, and products with the states.
#[derive(Clone, Debug)]
pub struct UnfusedLinearScanBackward {
    gpu: Gpu,
    spec: LinearScanSpec,
    plan: UnfusedLinearScanBackwardPlan,
    kernels: [Kernel; 3],
}

impl UnfusedLinearScanBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LinearScanSpec) -> Result<Self, Error> {
        let plan = UnfusedLinearScanBackwardPlan::new(&spec, gpu.caps())?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernels: compile_array(gpu, &backward_shaders(&plan)?)? })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedLinearScanBackwardPlan {
        &self.plan
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<ScanScratch, Error> {
        ScanScratch::new(&self.gpu, &self.spec)
    }

    /// Records every pass.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearScanBackwardInputs<'_, T>,
        gradients: &LinearScanGradients<T>,
        scratch: &ScanScratch,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernels: [pairs, double, apply] } = self;
        inputs.check(gpu, spec, gradients)?;
        let LinearScanBackwardInputs { a, h, initial, dh } = inputs;
        let LinearScanGradients { da, db, dinitial } = gradients;
        let (length, total) = (spec.length as u32, (spec.rows() * spec.length) as u32);
        let groups = total.div_ceil(plan.scan.lanes);
        let [mut before, mut after] = scratch.buffers(gpu, spec)?;
        let params = ApplyParams { groups, length, total };
        pairs.dispatch(gpu, encoder, &params, &[a.buffer(), dh.buffer(), before])?;
        for pass in 0..plan.scan.passes {
            let params = DoubleParams { groups, length, total, reach: 1 << pass };
            double.dispatch(gpu, encoder, &params, &[before, after])?;
            std::mem::swap(&mut before, &mut after);
        }
        let initial = initial.map_or(gpu.unused(), Tensor::buffer);
        let (h, dinitial) = (h.buffer(), dinitial.buffer());
        let buffers = [before, a.buffer(), h, initial, da.buffer(), db.buffer(), dinitial];
        apply.dispatch(gpu, encoder, &params, &buffers)
    }
}

/// Steps of one dispatch of the sequential kernel, a turn of its loop each.
const DISPATCH_STEPS: u32 = 1 << 14;

/// How to run the gradients of a [`LinearScanSpec`] with a lane for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SequentialLinearScanBackwardPlan {
    /// That of the scan.
    pub scan: SequentialLinearScanPlan,
}

impl SequentialLinearScanBackwardPlan {
    /// Plans sequential gradients. Fails like [`SequentialLinearScanPlan::new`].
    pub fn new(spec: &LinearScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        Ok(Self { scan: SequentialLinearScanPlan::new(spec, caps)? })
    }
}

impl Plan for SequentialLinearScanBackwardPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = "baseline/scan_backward_sequential";
        vec![Footprint { kernel, lanes: self.scan.lanes, workgroup_bytes: 0, storage_buffers: 7 }]
    }
}

impl fmt::Display for SequentialLinearScanBackwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scan)
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn sequential_backward_shaders(
    SequentialLinearScanBackwardPlan { scan }: &SequentialLinearScanBackwardPlan,
) -> Result<Vec<Shader>, ShaderError> {
    let linker = yardstick("baseline/scan_backward_sequential").module("baseline/scan_before");
    let linker = linker.set("LANES", scan.lanes).set("HAS_INITIAL", scan.initial);
    Ok(vec![tensors(linker, &["a", "h", "dh", "da", "db"], scan.storage).link()?])
}

/// The gradients of a linear scan as a loop, one lane a row: no work is done twice, and few rows leave a GPU idle.
#[derive(Clone, Debug)]
pub struct SequentialLinearScanBackward {
    gpu: Gpu,
    spec: LinearScanSpec,
    plan: SequentialLinearScanBackwardPlan,
    kernel: Kernel,
}

impl SequentialLinearScanBackward {
    /// Plans the spec's gradients for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LinearScanSpec) -> Result<Self, Error> {
        let plan = SequentialLinearScanBackwardPlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &sequential_backward_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SequentialLinearScanBackwardPlan {
        &self.plan
    }

    /// Records the loop, from the last steps to the first.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearScanBackwardInputs<'_, T>,
        gradients: &LinearScanGradients<T>,
    ) -> Result<(), Error> {
        let Self { gpu, spec, plan, kernel } = self;
        inputs.check(gpu, spec, gradients)?;
        let LinearScanBackwardInputs { a, h, initial, dh } = inputs;
        let LinearScanGradients { da, db, dinitial } = gradients;
        let initial = initial.map_or(gpu.unused(), Tensor::buffer);
        let [a, h, dh, da, db] = [a, h, dh, da, db].map(Tensor::buffer);
        let buffers = [a, h, initial, dh, da, db, dinitial.buffer()];
        let (length, rows) = (spec.length as u32, spec.rows() as u32);
        let parts = SequentialParams::parts(length, rows, plan.scan.lanes, DISPATCH_STEPS);
        parts.iter().rev().try_for_each(|part| kernel.dispatch(gpu, encoder, part, &buffers))
    }
}
