//! A linear scan as a composition of array operations, and as a plain loop.

use std::fmt;

use crate::baseline::yardstick;
use crate::kernel::{Kernel, compile_array, params};
use crate::plan::{Footprint, Plan, check_binding};
use crate::shader::{Shader, ShaderError, Storage};
use crate::spec::elements;
use crate::{
    Caps, DType, Element, Error, Gpu, LinearScanInputs, LinearScanOutputs, LinearScanSpec, PlanError,
    SpecError, Tensor,
};

/// How to run a [`LinearScanSpec`] unfused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct UnfusedLinearScanPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// Doubling passes over the pairs of all steps.
    pub passes: u32,
    /// How `a`, `b` and `h` are stored.
    pub storage: Storage,
    /// Whether rows begin with a given state.
    pub initial: bool,
}

impl UnfusedLinearScanPlan {
    /// Plans an unfused scan. Fails if the spec is wrong or a tensor exceeds a binding, which the pairs do first.
    pub fn new(spec: &LinearScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        forward_only(spec)?;
        let pairs = elements("the pairs of all steps", &pairs_shape(spec))?;
        check_binding("the pairs of all steps", pairs, DType::F32, caps)?;
        Ok(Self {
            lanes: 256.min(caps.workgroup_lanes),
            passes: spec.length.next_power_of_two().ilog2(),
            // The kernels take all rows as one, so that their vectors start at multiples of four.
            storage: Storage::new(spec.dtype, caps.f16, true),
            initial: spec.initial,
        })
    }
}

/// Fails if the spec is wrong or asks for what yardsticks do not do.
fn forward_only(spec: &LinearScanSpec) -> Result<(), SpecError> {
    spec.check()?;
    let options = [("complex", spec.complex), ("reverse", spec.reverse), ("exclusive", spec.exclusive)];
    match options.into_iter().find(|(_, on)| *on) {
        Some((name, _)) => {
            let expected = "false: the yardsticks take real steps from the first to the last".to_owned();
            Err(SpecError::Value { name, found: "true".to_owned(), expected })
        }
        None => Ok(()),
    }
}

fn pairs_shape(spec: &LinearScanSpec) -> [usize; 3] {
    [spec.rows(), spec.length, 2]
}

impl Plan for UnfusedLinearScanPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = |kernel, storage_buffers| Footprint {
            kernel,
            lanes: self.lanes,
            workgroup_bytes: 0,
            storage_buffers,
        };
        vec![
            kernel("baseline/scan_pairs", 3),
            kernel("baseline/scan_double", 2),
            kernel("baseline/scan_apply", 4),
        ]
    }
}

impl fmt::Display for UnfusedLinearScanPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} doubling passes over pairs in f32; {} lanes, {}", self.passes, self.lanes, self.storage)
    }
}

params! {
    /// `baseline/scan_pairs`.
    PairsParams { total: u32 }
}

params! {
    /// `baseline/scan_double`.
    DoubleParams { length: u32, total: u32, reach: u32 }
}

params! {
    /// `baseline/scan_apply`.
    ApplyParams { length: u32, total: u32 }
}

params! {
    /// `baseline/scan_sequential`.
    SequentialParams { length: u32, rows: u32, first: u32, end: u32 }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn shaders(plan: &UnfusedLinearScanPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = |kernel| yardstick(kernel).set("LANES", plan.lanes);
    let pairs = linker("baseline/scan_pairs").tensor("a", plan.storage).tensor("b", plan.storage);
    let double = linker("baseline/scan_double").module("scan/affine");
    let apply = linker("baseline/scan_apply").module("scan/affine").set("HAS_INITIAL", plan.initial);
    Ok(vec![pairs.link()?, double.link()?, apply.tensor("h", plan.storage).link()?])
}

/// The pairs of all steps, before and after a pass.
#[derive(Clone, Debug)]
pub struct ScanScratch {
    pairs: [Tensor<f32>; 2],
}

impl ScanScratch {
    pub(super) fn new(gpu: &Gpu, spec: &LinearScanSpec) -> Result<Self, Error> {
        let pairs = || Tensor::zeros(gpu, &pairs_shape(spec));
        Ok(Self { pairs: [pairs()?, pairs()?] })
    }

    /// Fails unless they are of that spec.
    pub(super) fn buffers(&self, gpu: &Gpu, spec: &LinearScanSpec) -> Result<[&wgpu::Buffer; 2], Error> {
        for pairs in &self.pairs {
            pairs.expect(gpu, "the pairs of all steps", DType::F32, &pairs_shape(spec))?;
        }
        Ok(self.pairs.each_ref().map(Tensor::buffer))
    }
}

/// A linear scan as array frameworks compose it: doubling passes over whole arrays (Hillis and Steele 1986).
#[derive(Clone, Debug)]
pub struct UnfusedLinearScan {
    gpu: Gpu,
    spec: LinearScanSpec,
    plan: UnfusedLinearScanPlan,
    pairs: Kernel,
    double: Kernel,
    apply: Kernel,
}

impl UnfusedLinearScan {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LinearScanSpec) -> Result<Self, Error> {
        let plan = UnfusedLinearScanPlan::new(&spec, gpu.caps())?;
        let [pairs, double, apply] = compile_array(gpu, &shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, pairs, double, apply })
    }

    /// How it runs here.
    pub fn plan(&self) -> &UnfusedLinearScanPlan {
        &self.plan
    }

    /// Tensors for the outputs.
    pub fn outputs<T: Element>(&self) -> Result<LinearScanOutputs<T>, Error> {
        LinearScanOutputs::zeros(&self.gpu, &self.spec)
    }

    /// The tensors between the kernels.
    pub fn scratch(&self) -> Result<ScanScratch, Error> {
        ScanScratch::new(&self.gpu, &self.spec)
    }

    /// Records every pass.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearScanInputs<'_, T>,
        outputs: &LinearScanOutputs<T>,
        scratch: &ScanScratch,
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, &self.spec, outputs)?;
        let Self { gpu, spec, plan, .. } = self;
        let [mut before, mut after] = scratch.buffers(gpu, spec)?;
        let (length, total) = (spec.length as u32, (spec.rows() * spec.length) as u32);
        let by_fours = total.div_ceil(4 * plan.lanes);
        let buffers = [inputs.a.buffer(), inputs.b.buffer(), before];
        self.pairs.dispatch(gpu, encoder, &PairsParams { groups: by_fours, total }, &buffers)?;
        for pass in 0..plan.passes {
            let params = DoubleParams { groups: total.div_ceil(plan.lanes), length, total, reach: 1 << pass };
            self.double.dispatch(gpu, encoder, &params, &[before, after])?;
            std::mem::swap(&mut before, &mut after);
        }
        let initial = inputs.initial.map_or(gpu.unused(), Tensor::buffer);
        let buffers = [before, initial, outputs.h.buffer(), outputs.last.buffer()];
        self.apply.dispatch(gpu, encoder, &ApplyParams { groups: by_fours, length, total }, &buffers)
    }
}

/// Steps of one dispatch of the sequential kernel, which says why.
const DISPATCH_STEPS: u32 = 1 << 16;

impl SequentialParams {
    /// Those of each dispatch of so many steps, from the first to the last.
    pub(super) fn parts(length: u32, rows: u32, lanes: u32, steps: u32) -> Vec<Self> {
        let groups = rows.div_ceil(lanes);
        let part = |first| Self { groups, length, rows, first, end: length.min(first + steps) };
        (0..length).step_by(steps as usize).map(part).collect()
    }
}

/// How to run a [`LinearScanSpec`] with a lane for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SequentialLinearScanPlan {
    /// Invocations of a workgroup.
    pub lanes: u32,
    /// How `a`, `b` and `h` are stored.
    pub storage: Storage,
    /// Whether rows begin with a given state.
    pub initial: bool,
}

impl SequentialLinearScanPlan {
    /// Plans a sequential scan. Fails if the spec is wrong or a tensor exceeds a binding.
    pub fn new(spec: &LinearScanSpec, caps: &Caps) -> Result<Self, PlanError> {
        forward_only(spec)?;
        check_binding("a", spec.rows() * spec.length, spec.dtype, caps)?;
        let storage = Storage::new(spec.dtype, caps.f16, spec.length.is_multiple_of(4));
        Ok(Self { lanes: 64.min(caps.workgroup_lanes), storage, initial: spec.initial })
    }
}

impl Plan for SequentialLinearScanPlan {
    fn footprints(&self) -> Vec<Footprint> {
        let kernel = "baseline/scan_sequential";
        vec![Footprint { kernel, lanes: self.lanes, workgroup_bytes: 0, storage_buffers: 5 }]
    }
}

impl fmt::Display for SequentialLinearScanPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a loop, a lane a row; {} lanes, {}", self.lanes, self.storage)
    }
}

/// The linked shaders of a plan, in the order of its footprints.
pub fn sequential_shaders(plan: &SequentialLinearScanPlan) -> Result<Vec<Shader>, ShaderError> {
    let linker = yardstick("baseline/scan_sequential").module("scan/affine");
    let linker = linker.set("LANES", plan.lanes).set("HAS_INITIAL", plan.initial);
    let linker = ["a", "b", "h"].into_iter().fold(linker, |linker, name| linker.tensor(name, plan.storage));
    Ok(vec![linker.link()?])
}

/// A linear scan as a loop, one lane a row: no work is done twice, and few rows leave a GPU idle.
#[derive(Clone, Debug)]
pub struct SequentialLinearScan {
    gpu: Gpu,
    spec: LinearScanSpec,
    plan: SequentialLinearScanPlan,
    kernel: Kernel,
}

impl SequentialLinearScan {
    /// Plans the spec for this GPU and compiles what the plan needs.
    pub fn new(gpu: &Gpu, spec: LinearScanSpec) -> Result<Self, Error> {
        let plan = SequentialLinearScanPlan::new(&spec, gpu.caps())?;
        let [kernel] = compile_array(gpu, &sequential_shaders(&plan)?)?;
        Ok(Self { gpu: gpu.clone(), spec, plan, kernel })
    }

    /// How it runs here.
    pub fn plan(&self) -> &SequentialLinearScanPlan {
        &self.plan
    }

    /// Tensors for the outputs.
    pub fn outputs<T: Element>(&self) -> Result<LinearScanOutputs<T>, Error> {
        LinearScanOutputs::zeros(&self.gpu, &self.spec)
    }

    /// Records the scan.
    pub fn encode<T: Element>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: LinearScanInputs<'_, T>,
        outputs: &LinearScanOutputs<T>,
    ) -> Result<(), Error> {
        inputs.check(&self.gpu, &self.spec, outputs)?;
        let (length, rows) = (self.spec.length as u32, self.spec.rows() as u32);
        let initial = inputs.initial.map_or(self.gpu.unused(), Tensor::buffer);
        let (h, last) = (outputs.h.buffer(), outputs.last.buffer());
        let buffers = [inputs.a.buffer(), inputs.b.buffer(), initial, h, last];
        for params in SequentialParams::parts(length, rows, self.plan.lanes, DISPATCH_STEPS) {
            self.kernel.dispatch(&self.gpu, encoder, &params, &buffers)?;
        }
        Ok(())
    }
}
